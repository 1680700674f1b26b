"""Token counts of a set of records: how long they are, what is learnt, what a limit would cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from corpus.records import Record

NUM_BINS = 20


class Tokens(Protocol):
    """One tokenised record."""

    @property
    def input_ids(self) -> Sequence[int]:
        """The token ids, prompt and completion."""

    @property
    def labelled(self) -> Sequence[bool]:
        """For each token whether it is to be learnt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowTokens:
    """The counts of one row, or of one window of a text that is learnt in windows."""

    file: str
    line: int
    weight: float = 1.0
    """How often an epoch draws it."""
    length: int
    """Tokens before truncation."""
    labelled: int
    """Tokens to be learnt, before truncation. A sequence's first token has no prediction and never counts."""
    kept: int
    """Tokens after truncation."""
    kept_labelled: int
    """Tokens to be learnt after truncation."""
    first_label: int | None
    """How many tokens come before the first one to be learnt; None where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How many rows have how many tokens."""

    edges: tuple[int, ...]
    """`NUM_BINS` + 1 ascending edges; a bin holds its left edge and not its right one."""
    counts: tuple[int, ...]
    """Rows in each bin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStatistics:
    """Token counts over all usable rows, each once; lengths are those before truncation."""

    total: int
    labelled: int
    kept_total: int
    """Tokens left after cutting every row at the limit: one epoch, where no file has a weight."""
    kept_labelled: int
    """Labelled tokens left after cutting."""
    min: int
    median: float
    p90: int
    """Nine rows of ten are at most this long."""
    max: int
    histogram: Histogram
    max_length: int | None
    """The limit in tokens, None for none."""
    num_truncated: int
    """Rows longer than the limit."""


def count_tokens(record: Record, tokens: Tokens, max_length: int | None) -> list[RowTokens]:
    """Count one record's tokens.

    Args:
        record: A text is learnt in windows of `max_length`, a chat is cut off there.
        tokens: Prompt and completion.
        max_length: In tokens; None cuts nothing.
    """
    flags = tokens.labelled
    size = len(tokens.input_ids)
    if record.kind == "chat" or max_length is None or size <= max_length:
        return [_row(record, flags, size, max_length)]
    return [
        _row(record, flags[at : at + max_length], min(max_length, size - at), max_length)
        for at in range(0, size, max_length)
    ]


def _row(record: Record, flags: Sequence[bool], length: int, max_length: int | None) -> RowTokens:
    kept = length if max_length is None else min(length, max_length)
    return RowTokens(
        file=record.file,
        line=record.line,
        weight=record.weight,
        length=length,
        labelled=sum(flags[1:]),
        kept=kept,
        kept_labelled=sum(flags[1:kept]),
        first_label=next((at for at, flag in enumerate(flags) if flag), None),
    )


def token_statistics(rows: Sequence[RowTokens], max_length: int | None) -> TokenStatistics:
    """Add up the counts of `rows`, at least one."""
    lengths = sorted(row.length for row in rows)
    return TokenStatistics(
        total=sum(lengths),
        labelled=sum(row.labelled for row in rows),
        kept_total=sum(row.kept for row in rows),
        kept_labelled=sum(row.kept_labelled for row in rows),
        min=lengths[0],
        median=median(lengths),
        p90=lengths[math.ceil(0.9 * len(lengths)) - 1],
        max=lengths[-1],
        histogram=_histogram(lengths),
        max_length=max_length,
        num_truncated=sum(row.kept < row.length for row in rows),
    )


def _histogram(lengths: Sequence[int]) -> Histogram:
    width = max(math.ceil((max(lengths) + 1) / NUM_BINS), 1)
    counts = [0] * NUM_BINS
    for length in lengths:
        counts[length // width] += 1
    return Histogram(edges=tuple(range(0, width * NUM_BINS + 1, width)), counts=tuple(counts))
