"""Secrets and personal addresses in texts: an adapter learns them by heart and tells them to anybody who asks.

Kinds with a fixed shape are matched by that shape; assignments (`password = …`) must also look random, by Shannon's
entropy, so that placeholders stay out. What is found is never written out whole.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

MIN_ENTROPY_BITS = 3.0
"""Bits a character of an assigned value; words and placeholders are below, random keys of 12 characters above."""

_SHAPES: dict[str, str] = {
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})\b",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Slack token": r"\bxox[abeprs]-[A-Za-z0-9-]{10,}",
    "Slack webhook": r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}\b",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}\b",
    "Hugging Face token": r"\bhf_[A-Za-z]{30,}\b",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "API key": r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}",
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@<>]+:(?P<value>[^\s/:@<>]{3,})@[^\s/@]+",
}
_ASSIGNMENT = re.compile(
    r"(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd)[\"']?\s*[:=]\s*[\"']?"
    r"(?P<value>[^\s\"',;<>(){}\[\]]{8,})",
    re.IGNORECASE,
)
_SHAPED = [(kind, re.compile(pattern)) for kind, pattern in _SHAPES.items()]
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d.-])")
_EMAIL = re.compile(r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b")
_RESERVED = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.(?:com|net|org))?$", re.IGNORECASE)
"""Domains nobody owns (RFC 2606): examples, not people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """Something in a text that should not be learnt."""

    kind: str
    masked: str
    """Its beginning and its length; never the whole."""
    start: int
    """Where it begins in the text, in characters."""
    end: int


def find_secrets(text: str) -> Iterator[Secret]:
    """Yield the keys, tokens, passwords and payment card numbers in `text`."""
    taken: list[tuple[int, int]] = []
    for found in (*_shaped(text), *_assigned(text), *_cards(text)):
        if not any(found.start < end and start < found.end for start, end in taken):
            taken.append((found.start, found.end))
            yield found


def find_emails(text: str) -> Iterator[Secret]:
    """Yield the e-mail addresses in `text`, those at reserved domains left out."""
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        name, _, domain = match.group().partition("@")
        if not _RESERVED.search(domain):
            yield Secret(kind="e-mail address", masked=f"{name[0]}…@{domain}", start=match.start(), end=match.end())


def hide_secrets(text: str) -> str:
    """Return `text` with every secret and e-mail address masked."""
    hidden = text
    found = sorted((*find_secrets(text), *find_emails(text)), key=lambda secret: secret.start)
    for secret in reversed(found):
        hidden = hidden[: secret.start] + secret.masked + hidden[secret.end :]
    return hidden


def _shaped(text: str) -> Iterator[Secret]:
    for kind, pattern in _SHAPED:
        for match in pattern.finditer(text):
            if kind != "API key" or _looks_random(match.group()[3:]):
                yield _secret(kind, match, "value" if "value" in pattern.groupindex else 0)


def _assigned(text: str) -> Iterator[Secret]:
    for match in _ASSIGNMENT.finditer(text):
        if _looks_random(match["value"]):
            yield _secret("assigned secret", match, "value")


def _cards(text: str) -> Iterator[Secret]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if digits[0] in "3456" and len(set(digits)) > 2 and _passes_luhn(digits):
            masked = f"{digits[:2]}…{digits[-2:]} ({len(digits)} digits)"
            yield Secret(kind="payment card number", masked=masked, start=match.start(), end=match.end())


def _secret(kind: str, match: re.Match[str], group: str | int) -> Secret:
    return Secret(kind=kind, masked=_masked(match.group(group)), start=match.start(group), end=match.end(group))


def entropy_bits(text: str) -> float:
    """Return Shannon's entropy of the characters of `text`, bits a character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values()) if text else 0.0


def _looks_random(value: str) -> bool:
    mixed = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    return mixed and entropy_bits(value) >= MIN_ENTROPY_BITS


def _masked(value: str) -> str:
    # At most a quarter is shown, so that a short password does not stand there nearly whole.
    return f"{value[: min(4, len(value) // 4)]}… ({len(value)} characters)"


def _passes_luhn(digits: str) -> bool:
    """Check digits as ISO/IEC 7812 does: from the right, every second one doubled."""
    doubled = [int(digit) * 2 if place % 2 else int(digit) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
