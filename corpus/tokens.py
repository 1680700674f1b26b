"""Token counts of a set of records: how long they are, what is learnt, what a limit would cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

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
class Histogram:
    """How many rows have how many tokens."""

    edges: tuple[int, ...]
    """`NUM_BINS` + 1 ascending edges; a bin holds its left edge and not its right one."""
    counts: tuple[int, ...]
    """Rows in each bin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStatistics:
    """Token counts over all usable rows; lengths are those before truncation."""

    total: int
    labelled: int
    """Tokens to be learnt. A sequence's first token has no prediction and never counts."""
    kept_total: int
    """Tokens left after cutting every row at the limit."""
    kept_labelled: int
    """Labelled tokens left after cutting: what one epoch learns."""
    min: int
    median: float
    p90: int
    """Nine rows of ten are at most this long."""
    max: int
    histogram: Histogram
    max_length: int | None
    """The limit in tokens, None for none."""
    truncated_lines: tuple[int, ...]
    """Rows longer than the limit."""
    unlabelled_lines: tuple[int, ...]
    """Rows that teach nothing: no labelled token within the limit."""


def token_statistics(rows: Sequence[tuple[int, Tokens]], max_length: int | None) -> TokenStatistics:
    """Count tokens.

    Args:
        rows: (line, tokens) of each usable row, at least one.
        max_length: Rows are cut after so many tokens; None cuts nothing.
    """
    lengths = sorted(len(tokens.input_ids) for _, tokens in rows)
    kept = [sum(tokens.labelled[1:max_length]) for _, tokens in rows]
    return TokenStatistics(
        total=sum(lengths),
        labelled=sum(sum(tokens.labelled[1:]) for _, tokens in rows),
        kept_total=sum(lengths if max_length is None else (min(length, max_length) for length in lengths)),
        kept_labelled=sum(kept),
        min=lengths[0],
        median=median(lengths),
        p90=lengths[math.ceil(0.9 * len(lengths)) - 1],
        max=lengths[-1],
        histogram=_histogram(lengths),
        max_length=max_length,
        truncated_lines=tuple(line for line, tokens in rows if len(tokens.input_ids) > (max_length or math.inf)),
        unlabelled_lines=tuple(line for (line, _), count in zip(rows, kept, strict=True) if count == 0),
    )


def _histogram(lengths: Sequence[int]) -> Histogram:
    width = max(math.ceil((max(lengths) + 1) / NUM_BINS), 1)
    counts = [0] * NUM_BINS
    for length in lengths:
        counts[length // width] += 1
    return Histogram(edges=tuple(range(0, width * NUM_BINS + 1, width)), counts=tuple(counts))
