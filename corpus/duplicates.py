"""Rows that say the same: equal after normalisation, or nearly equal.

Near means a Jaccard similarity of shingles (`corpus.shingles`) of at least 0.8 between prompts, or between texts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest

from corpus.normalise import answer_key, prompt_key, row_key
from corpus.records import Record
from corpus.shingles import THRESHOLD, Match, ShingleIndex, Sketch, sketches

MAX_PAIRS_PER_ROW = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Records that are equal after normalisation."""

    records: tuple[Record, ...]
    """At least two, in the order of the dataset."""

    @property
    def text(self) -> str:
        """The first record's prompt (or text), as written."""
        return self.records[0].prompt or self.records[0].completion


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicate:
    """Two records with different but nearly equal prompts (or texts)."""

    first: Record
    second: Record
    similarity: float
    """Jaccard similarity of their shingles, at least the threshold, at most 1."""


def duplicate_prompts(records: Sequence[Record]) -> tuple[Group, ...]:
    """Group the records whose prompts are equal after normalisation, whatever their completions."""
    return _groups(records, prompt_key)


def duplicate_rows(records: Sequence[Record]) -> tuple[Group, ...]:
    """Group the records whose prompts and completions are equal after normalisation."""
    return _groups(records, row_key)


def conflicting_answers(records: Sequence[Record]) -> tuple[Group, ...]:
    """Group the records with one prompt and at least two different completions (normalised)."""
    return tuple(
        Group(records=tuple(members))
        for members in members_by_key(records, prompt_key)
        if len({answer_key(record) for record in members}) > 1
    )


def members_by_key(records: Iterable[Record], key: Callable[[Record], str]) -> list[list[Record]]:
    """Collect the records under each key, keys in order of first appearance."""
    members: dict[str, list[Record]] = {}
    for record in records:
        members.setdefault(key(record), []).append(record)
    return list(members.values())


def near_duplicates(records: Sequence[Record], threshold: float = THRESHOLD) -> tuple[NearDuplicate, ...]:
    """Find pairs of nearly equal prompts (or texts).

    Records with equal normalised prompts count once, by the first of them: `duplicate_prompts` reports those. A record
    is paired with at most `MAX_PAIRS_PER_ROW` earlier ones, the most similar; where hundreds of rows are alike
    (`corpus.shingles.MAX_CANDIDATES`) only the first of them are looked at.

    Returns:
        Pairs in the order of the second record, then of the first.
    """
    distinct = [members[0] for members in members_by_key(records, prompt_key)]
    index = ShingleIndex(threshold)
    pairs = []
    for number, (record, sketch) in enumerate(zip(distinct, _sketches(distinct), strict=True)):
        closest = nlargest(MAX_PAIRS_PER_ROW, index.matches(sketch), key=lambda match: match.similarity)
        pairs += [
            NearDuplicate(first=distinct[position], second=record, similarity=similarity)
            for position, similarity in sorted((match.position, match.similarity) for match in closest)
        ]
        index.add(number, sketch)
    return tuple(pairs)


def nearest(records: Sequence[Record], queries: Sequence[Record], threshold: float = THRESHOLD) -> list[Match | None]:
    """For each query find the most similar of the records, the first of several; None where none is near."""
    index = ShingleIndex(threshold)
    for position, sketch in enumerate(_sketches(records)):
        index.add(position, sketch)
    return [
        max(index.matches(sketch), key=lambda match: match.similarity, default=None) for sketch in _sketches(queries)
    ]


def _sketches(records: Sequence[Record]) -> Iterator[Sketch]:
    return sketches([record.prompt if record.kind == "chat" else record.text for record in records])


def _groups(records: Sequence[Record], key: Callable[[Record], str]) -> tuple[Group, ...]:
    return tuple(Group(records=tuple(members)) for members in members_by_key(records, key) if len(members) > 1)
