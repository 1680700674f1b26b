"""Classification by a generated label: accuracy, macro-averaged F1 and the confusion matrix."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.results import CaseResult, Confusion
from evaluation.scorers.exact_match import fold
from evaluation.scorers.scorer import Answer, MeanScorer, Score, mean

OTHER = "(no label)"
"""What an answer counts as that is none of the labels."""


@dataclass(frozen=True)
class Classification(MeanScorer):
    """An answer is the label that it equals after `fold`; the right one is the case's `label` or its completion.

    Args:
        labels: all there are; by default those of the cases. Cases may have lists of their own: F1 and the confusion
            matrix are of all of them together. Labels that are equal after `fold` are one.
    """

    labels: tuple[str, ...] = ()
    metrics = ("accuracy", "macro_f1")

    def check(self, case: Case) -> None:
        """See `Scorer`."""
        label = label_of(case)
        if not label.strip():
            raise CaseError(f"case {case.index} has no label; give it a completion, or `label` in its fields.")
        if self.labels and fold(label) not in map(fold, self.labels):
            raise CaseError(
                f"case {case.index}: the label {label!r} is none of the scorer's {len(self.labels)} labels."
            )

    def score(self, answer: Answer) -> Score:
        """See `Scorer`."""
        label, said = label_of(answer.case), fold(answer.text)
        return Score(
            values={"accuracy": float(said == fold(label))}, details={"label": label, "predicted": answer.text.strip()}
        )

    def aggregate(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> dict[str, float]:
        """See `Scorer`; F1 is averaged over the labels that are right for a case or answered."""
        table = self.confusion(cases, results)
        return {"accuracy": mean(results, "accuracy"), "macro_f1": _macro_f1(table)}

    def confusion(self, cases: Sequence[Case], results: Sequence[CaseResult]) -> Confusion:
        """How often each label was answered by each; answers that are no label are counted together."""
        by_fold: dict[str, str] = {}
        for label in (*self.labels, *chain.from_iterable(map(_labels, cases))):
            by_fold.setdefault(fold(label), label)
        labels = tuple(by_fold.values())
        counts = Counter(
            (by_fold[fold(label_of(case))], by_fold.get(fold(result.text or ""), OTHER))
            for case, result in zip(cases, results, strict=True)
            if result.text is not None
        )
        columns = (*labels, OTHER)
        return Confusion(
            labels=labels, predicted=columns, counts=tuple(tuple(counts[row, at] for at in columns) for row in labels)
        )


def label_of(case: Case) -> str:
    """The right answer."""
    label = case.fields.get("label")
    return label if isinstance(label, str) else case.reference


def _labels(case: Case) -> Iterator[str]:
    """All that a case may be: those of its own scorer, and the right one."""
    for spec in case.scorers or ():
        if spec.name == "classification":
            yield from map(str, cast("Sequence[str]", spec.params.get("labels", ())))
    yield label_of(case)


def _macro_f1(table: Confusion) -> float:
    scores = []
    for at, _ in enumerate(table.labels):
        right = table.counts[at][at]
        wrong = sum(table.counts[at]) + sum(row[at] for row in table.counts)
        # As scikit-learn, but for a label that neither occurs nor is answered: there it counts 0.
        if wrong:
            scores.append(2 * right / wrong)
    return math.fsum(scores) / len(scores) if scores else math.nan
