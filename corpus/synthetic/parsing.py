"""What a model wrote, without what it put around it."""

import re
from collections.abc import Sequence

from corpus.synthetic.drafts import Dropped
from corpus.synthetic.writing import Reply

_FENCE = re.compile(r"\A```[\w-]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_PREAMBLE = re.compile(
    r"\A(?:sure|certainly|of course|okay|ok|here(?:'s| is| are))\b[^\n]{0,120}:\s*\n+", re.IGNORECASE
)
_NUMBER = re.compile(r"\A\s*(?:\(?\d{1,2}[.)]|[-*\u2022])\s+")
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u300c": "\u300d"}
_REFUSAL = re.compile(
    r"\bas an? (?:ai|language model|assistant)\b|\bi(?:'m| am) (?:just )?an? (?:ai|language model)\b"
    r"|\bi(?:'m| am) (?:sorry|unable)\b[^.]{0,60}\b(?:can(?:no|')t|unable|assist|confusion)\b"
    r"|\bi can(?:no|')t (?:assist|help|provide|fulfil)\b",
    re.IGNORECASE,
)
_MIN_RUN_WORDS = 4
_MAX_RUNS = 3
_MAX_RUN_SHARE = 0.2
"""Of a text's words, which one run may make up however often it stands there."""


def read_line(reply: Reply, headings: Sequence[str] = ()) -> str:
    """Read one line; a chat model's preamble, list number, quotes and further lines are left off.

    Raises:
        Dropped: nothing usable was written.
    """
    text = read_block(reply, headings)
    return _bare(next(line for line in text.splitlines() if line.strip()))


def read_block(reply: Reply, headings: Sequence[str] = ()) -> str:
    """Read a text of any number of lines.

    Args:
        reply: What was written.
        headings: Lines of the ask; a model that writes one has gone on with the pattern instead of answering.

    Raises:
        Dropped: nothing usable was written.
    """
    if reply.finish_reason == "prompt_too_long":
        raise Dropped("prompt_too_long")
    text = _PREAMBLE.sub("", reply.text.strip())
    fenced = _FENCE.match(text)
    text = (fenced.group(1) if fenced else text).strip()
    first = next((heading for heading in headings if text.casefold().startswith(heading.casefold())), "")
    text = text[len(first) :].strip()
    if not text or not _bare(text):
        raise Dropped("empty", reply.text)
    if reply.finish_reason == "length":
        raise Dropped("cut_off", text)
    if _REFUSAL.search(text):
        raise Dropped("refusal", text)
    if any(heading.casefold() in text.casefold() for heading in headings):
        raise Dropped("echo", text)
    if goes_round(text):
        raise Dropped("repetition", text)
    return _bare(text) if "\n" not in text else text


def goes_round(text: str) -> bool:
    """Say whether a run of words stands in the text more often than anybody would write it."""
    words = text.split()
    most = max(_MAX_RUNS, int(_MAX_RUN_SHARE * len(words) / _MIN_RUN_WORDS))
    seen: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - _MIN_RUN_WORDS + 1):
        run = tuple(words[start : start + _MIN_RUN_WORDS])
        seen[run] = seen.get(run, 0) + 1
        if seen[run] > most:
            return True
    return False


def _bare(text: str) -> str:
    text = _NUMBER.sub("", text).strip()
    closing = _QUOTES.get(text[:1])
    if closing and len(text) > 1 and text.endswith(closing) and closing not in text[1:-1]:
        return text[1:-1].strip()
    return text
