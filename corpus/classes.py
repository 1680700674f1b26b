"""Classification by generation: few distinct completions, each of many rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from corpus.normalise import answer_key
from corpus.records import Record

MIN_ROWS = 20
MAX_CLASSES = 1000
MIN_ROWS_PER_CLASS = 3
"""On average; with fewer, repeated answers are chance."""
MAX_WORDS = 12
"""A longer completion is no name of a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassStatistics:
    """Rows of each class."""

    counts: dict[str, int]
    """By completion as first written, the most frequent first."""
    runs: int
    """How often the class changes from row to row, plus one; the number of classes where the file is sorted by it."""

    @property
    def imbalance(self) -> float:
        """Rows of the largest class over rows of the smallest."""
        sizes = list(self.counts.values())
        return sizes[0] / sizes[-1]

    @property
    def majority_share(self) -> float:
        """The accuracy of always answering the largest class."""
        return max(self.counts.values()) / sum(self.counts.values())

    @property
    def is_sorted(self) -> bool:
        """Whether rows of a class stand together: at most two runs a class where chance would give many."""
        return len(self.counts) > 1 and self.runs <= 2 * len(self.counts) < sum(self.counts.values()) / 2


def class_statistics(records: Sequence[Record]) -> ClassStatistics | None:
    """Count the classes of a classification-like set; None for any other.

    A label column makes it one; so do completions of a few words that come again and again.
    """
    labelled = bool(records) and all(record.label is not None for record in records)
    if not labelled and not _repeats_short_answers(records):
        return None
    keys = [record.label or answer_key(record) for record in records]
    names: dict[str, str] = {}
    for key, record in zip(keys, records, strict=True):
        names.setdefault(key, record.completion.strip())
    counts = {names[key]: count for key, count in Counter(keys).most_common()}
    runs = 1 + sum(first != second for first, second in pairwise(keys))
    return ClassStatistics(counts=counts, runs=runs)


def _repeats_short_answers(records: Sequence[Record]) -> bool:
    if len(records) < MIN_ROWS or any(record.kind == "text" for record in records):
        return False
    answers = {record.completion.strip() for record in records}
    few = len(answers) <= min(MAX_CLASSES, len(records) / MIN_ROWS_PER_CLASS)
    return few and all(len(answer.split()) <= MAX_WORDS for answer in answers)
