"""What a judge's reply says. Judges are asked for one form and keep to it more or less; a guess is never made."""

import json
import re
from collections.abc import Iterator
from typing import Any

from evaluation.judging.judge import HIGHEST, LOWEST, Winner

_WINNERS: dict[str, Winner] = {"a": "first", "b": "second", "c": "tie", "tie": "tie", "draw": "tie"}
_LABEL = r"(?:answer |assistant |option )?(a|b|c|tie|draw)"
_MARKED = re.compile(rf"\[\[\s*{_LABEL}\s*\]\]", re.IGNORECASE)
_STATED = re.compile(
    rf"^\W*(?:final |my )?(?:verdict|winner|judge?ment|choice|better answer|answer)\s*(?:is\b|[:=])\W*{_LABEL}\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_ALONE = re.compile(rf"\W*{_LABEL}\W*", re.IGNORECASE)
_NUMBER = r"(\d+(?:\.\d+)?)"
_OF = rf"(?:\s*(?:/|out of)\s*{HIGHEST})?"
_NUMBERED_MARK = re.compile(rf"\[\[\s*(\d+)\s*[:=]\s*{_NUMBER}{_OF}\s*\]\]")
_PLAIN_MARK = re.compile(rf"\[\[\s*{_NUMBER}{_OF}\s*\]\]")
# A point before a digit parts no number from its mark: `1.5` is a mark.
_NUMBERED_LINE = re.compile(rf"^\W*(\d+)\s*(?:[:=)]|\.(?!\d))\W*{_NUMBER}{_OF}\W*$", re.MULTILINE)
_STATED_MARK = re.compile(
    rf"^\W*(?:final |overall )?(?:score|mark|grade|rating)\s*(?:is\b|[:=])\W*{_NUMBER}{_OF}\W*$",
    re.IGNORECASE | re.MULTILINE,
)
_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)


def read_winner(reply: str) -> Winner | None:
    """The verdict: `[[A]]`, JSON with `winner` or `verdict`, a line `Verdict: A`, or a last line that is just `A`.

    Where a form occurs several times the last one counts: what comes before is thinking. None if there is none.
    """
    reply = _THOUGHTS.sub("", reply)
    for pattern in (_MARKED, _STATED):
        if found := pattern.findall(reply):
            return _WINNERS[found[-1].lower()]
    for value in _objects(reply):
        said = value.get("winner", value.get("verdict"))
        if isinstance(said, str) and (match := _ALONE.fullmatch(said)):
            return _WINNERS[match[1].lower()]
    lines = reply.split("\n") if not reply.strip() else reply.strip().split("\n")
    match = _ALONE.fullmatch(lines[-1])
    return _WINNERS[match[1].lower()] if match else None


def read_marks(reply: str, count: int) -> tuple[float, ...] | None:
    """A mark for each of `count` criteria; None unless all are there and within bounds.

    Read are `[[1: 4]]` and lines `1: 4`, JSON with `marks` or `scores`, and for one criterion also `[[4]]`, `Score: 4`
    and `4/5`.
    """
    reply = _THOUGHTS.sub("", reply)
    for found in _readings(reply, count):
        if len(found) == count and all(LOWEST <= mark <= HIGHEST for mark in found):
            return tuple(found)
    return None


def _readings(reply: str, count: int) -> Iterator[list[float]]:
    wanted = range(1, count + 1)
    if count == 1:
        yield _last(_PLAIN_MARK, reply)
    for pattern in (_NUMBERED_MARK, _NUMBERED_LINE):
        numbered = {int(number): float(mark) for number, mark in pattern.findall(reply)}
        yield [numbered[number] for number in wanted if number in numbered]
    for value in _objects(reply):
        yield _listed(value, count)
    if count == 1:
        yield _last(_STATED_MARK, reply)
        match = re.fullmatch(rf"\W*{_NUMBER}{_OF}\W*", reply.strip().split("\n")[-1])
        yield [] if match is None else [float(match[1])]


def _last(pattern: re.Pattern[str], reply: str) -> list[float]:
    return [float(mark) for mark in pattern.findall(reply)[-1:]]


def _listed(value: dict[str, Any], count: int) -> list[float]:
    said = value.get("marks", value.get("scores", value.get("score", value.get("mark"))))
    if isinstance(said, dict):
        said = [said.get(str(number)) for number in range(1, count + 1)]
    items: list[Any] = said if isinstance(said, list) else [said]
    marks = [float(item) for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
    return marks if len(marks) == len(items) else []


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a reply, the last first."""
    decoder = json.JSONDecoder()
    for at in reversed([match.start() for match in re.finditer(r"\{", reply)][-16:]):
        try:
            value, _ = decoder.raw_decode(reply, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
