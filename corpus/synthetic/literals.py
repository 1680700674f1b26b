"""What a text must not lose or gain when it is written anew: numbers, quoted texts, names and code."""

import re

_LITERAL = re.compile(
    r"\"[^\"\n]+\"|`[^`\n]+`"  # quoted
    r"|[\w.+-]+@[\w-]+\.[\w.]+|https?://\S+"  # addresses
    r"|(?<![\w-])--?[a-zA-Z][\w-]*"  # flags
    r"|\b\w*\d[\w.,:/-]*\b"  # numbers, dates, codes
    r"|\b\w+_\w+\b"  # identifiers
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z\u00c0-\u00de][\w'\u2019-]+(?: [A-Z\u00c0-\u00de][\w'\u2019-]+)*")
"""Capitalised words inside a sentence."""
_NOT_NAMES = frozenset({"I", "I'm", "I've", "I'd", "I'll"})


def literals(text: str) -> frozenset[str]:
    """Return the parts of a text that no other words stand for, case folded."""
    found = {match.strip('"`.,:;/-') or match for match in _LITERAL.findall(text)}
    found |= {name for name in _NAME.findall(text) if name not in _NOT_NAMES}
    return frozenset(each.casefold() for each in found)


def lost_literal(before: str, after: str) -> str | None:
    """Return a literal that stands in one of the texts only, or None where both have the same numbers and names.

    A name may be gained: `ATM` may come for `cash machine`. A number may not.
    """
    folded = after.casefold()
    gone = sorted(each for each in literals(before) if each not in folded)
    if gone:
        return gone[0]
    source = before.casefold()
    new = sorted(each for each in literals(after) if any(char.isdigit() for char in each) and each not in source)
    return new[0] if new else None
