"""What answers of the seeds look like, and whether a new one looks so too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerForm:
    """The form that every answer of the seeds has."""

    labels: frozenset[str] = frozenset()
    """Only these are answers, where there are any."""
    required: frozenset[str] | None = None
    """Answers are JSON objects with at least these keys; None where they are not."""
    known: frozenset[str] = frozenset()
    """And with no others than these."""
    one_line: bool = False

    @classmethod
    def of(cls, answers: Sequence[str], labels: frozenset[str] = frozenset()) -> "AnswerForm":
        """Learn the form of the seeds' answers; at least one."""
        objects = [_object(answer) for answer in answers]
        keys = [frozenset(each) for each in objects if each is not None]
        is_json = len(keys) == len(answers)
        return cls(
            labels=labels,
            required=frozenset.intersection(*keys) if is_json else None,
            known=frozenset().union(*keys) if is_json else frozenset(),
            one_line=not any("\n" in answer.strip() for answer in answers),
        )

    def fault(self, answer: str) -> str | None:
        """Say what is wrong with an answer, or None."""
        if self.labels and answer not in self.labels:
            return "no class of the seeds"
        if self.one_line and "\n" in answer.strip():
            return "several lines"
        if self.required is None:
            return None
        value = _object(answer)
        if value is None:
            return "no JSON object"
        missing, unknown = self.required - value.keys(), value.keys() - self.known
        if missing:
            return f"the key {sorted(missing)[0]!r} is missing"
        return f"the key {sorted(unknown)[0]!r} is in no seed" if unknown else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
