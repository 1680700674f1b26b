"""Characters that are seldom meant: control characters, invisible ones, and text decoded by the wrong table."""

import re
from collections.abc import Iterator

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
"""C0 and C1 but tab, line feed, carriage return and next line."""
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Soft hyphen, zero-width space, word joiner, byte-order mark, direction overrides and tags. Joiners (U+200C, U+200D)
are spelling in Persian, Hindi and emoji."""
_MOJIBAKE = re.compile("\u00c3[\u0080-\u00bf\u2018-\u203a]|\u00e2\u20ac[\u0153\u009d\u2122\u02dc\u201c\u201d\u00a6]")
"""UTF-8 read as Windows-1252: `Ã©` for é, `â€™` for an apostrophe."""
_PATTERNS = {"control character": _CONTROL, "invisible character": _INVISIBLE, "wrongly decoded text": _MOJIBAKE}


def odd_characters(text: str) -> Iterator[str]:
    """Yield what is odd in `text`, once for each kind: the kind, the code point and the surroundings."""
    if text.isascii() and text.isprintable():
        return
    for kind, pattern in _PATTERNS.items():
        match = pattern.search(text)
        if match:
            yield f"{kind} {_named(match.group())} {_around(text, match)}"
    if "\ufffd" in text:
        yield "replacement character U+FFFD: bytes were lost when the text was decoded"


def _named(text: str) -> str:
    return " ".join(f"U+{ord(char):04X}" for char in text)


def _around(text: str, match: re.Match[str]) -> str:
    return f"in {text[max(match.start() - 15, 0) : match.end() + 15]!r}"
