"""How many fields of an expected JSON object an answer has right."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.scorers.json_text import read_json
from evaluation.scorers.scorer import Answer, MeanScorer, Score

_ABSENT = object()


@dataclass(frozen=True)
class JsonFields(MeanScorer):
    """The share of the expected fields that the answer has with the same value.

    The expected object is the case's completion. Fields within fields are counted one by one, under names such as
    `address.city`; a list is one value. What an answer has beside the expected fields counts neither way.

    Args:
        fields: those that count; by default all that are expected.
        fenced: whether the JSON may stand in a Markdown code block.
    """

    fields: tuple[str, ...] = ()
    fenced: bool = False
    metrics = ("json_fields",)

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        try:
            expected = read_json(case.reference, fenced=False)
        except ValueError as error:
            raise CaseError(f"case {case.index}: its completion is no JSON object: {error}; write one.") from error
        if not isinstance(expected, dict) or not expected:
            raise CaseError(f"case {case.index}: its completion must be a JSON object with at least one field.")
        missing = set(self.fields) - {name for name, _ in _leaves(expected)}
        if missing:
            raise CaseError(
                f"case {case.index}: its completion has no field {min(missing)!r}, which the scorer 'json_fields' "
                "counts; add it there or take it out of `fields`."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        expected = dict(_leaves(read_json(answer.case.reference, fenced=False)))
        counted = self.fields or tuple(expected)
        try:
            said = read_json(answer.text, self.fenced)
        except ValueError as error:
            return Score(values={"json_fields": 0.0}, details={"json_error": str(error)})
        got = dict(_leaves(said)) if isinstance(said, dict) else {}
        wrong = [name for name in counted if not _equal(got.get(name, _ABSENT), expected[name])]
        return Score(values={"json_fields": 1 - len(wrong) / len(counted)}, details={"wrong_fields": list(wrong)})


def _leaves(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict) and item:
            yield from _leaves(item, f"{before}{name}.")
        else:
            yield f"{before}{name}", item


def _equal(said: Any, right: Any) -> bool:
    """JSON equality: 1 is 1.0, but not true, which Python takes for it."""
    if isinstance(said, bool) or isinstance(right, bool):
        return said is right
    if isinstance(said, list) and isinstance(right, list):
        return len(said) == len(right) and all(map(_equal, said, right))
    if isinstance(said, dict) and isinstance(right, dict):
        return said.keys() == right.keys() and all(_equal(said[name], right[name]) for name in right)
    return bool(said == right)
