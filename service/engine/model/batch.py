"""The tokens of one step, laid end to end, and where each stands in the cache.

Shape legend: T tokens of the step, B decoding sequences, P pages of the longest of them, L = P * page_tokens, N tokens
of a chunk, C tokens of its whole context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from service.engine.branches import Branches


@dataclass(frozen=True)
class Span:
    """Consecutive tokens of one sequence, to be computed in one step."""

    token_ids: Sequence[int]
    start: int
    """Place of the first of them in the sequence; all before it are in the cache."""
    pages: Sequence[int]
    """The sequence's block table; holds at least `end` tokens."""
    branches: Branches | None = None
    """None: each token sees all before it, and its place is its position."""

    @property
    def end(self) -> int:
        """Place after the last token."""
        return self.start + len(self.token_ids)

    @property
    def is_single(self) -> bool:
        """Whether it is one token that sees all before it."""
        return len(self.token_ids) == 1 and self.branches is None

    @property
    def positions(self) -> Sequence[int]:
        """As the model is told."""
        return range(self.start, self.end) if self.branches is None else self.branches.positions(self.start, self.end)


@dataclass(frozen=True)
class DecodeView:
    """What the single-token rows see of the cache; with a sliding window, only the pages that it reaches into."""

    tables_BP: Tensor
    mask_B11L: Tensor
    """Added to the scores: 0 where a token is seen, minus infinity elsewhere."""


@dataclass(frozen=True)
class DecodeTables:
    """The same for a kernel, which needs no mask."""

    tables_BP: Tensor
    """The sequences' pages, int32; what lies beyond a sequence's length may be anything."""
    lengths_B: Tensor
    """Tokens that each sees, itself included, int64."""


class Prefill:
    """A span of more than one token in the step."""

    def __init__(self, span: Span, first_row: int, page_tokens: int, device: torch.device) -> None:
        self.rows = slice(first_row, first_row + len(span.token_ids))
        self.start, self.end = span.start, span.end
        self._span, self._page_tokens, self._device = span, page_tokens, device
        self._masks: dict[int | None, Tensor | None] = {}

    @cached_property
    def slots_C(self) -> Tensor:
        """Token slots of the whole context."""
        slots = token_slots(self._span.pages, 0, self.end, self._page_tokens)
        return torch.tensor(slots, device=self._device)

    def mask_NC(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """Added to the scores; None where each token sees all before it, and nothing stands before the span."""
        window = None if window is None or window >= self.end else window
        if window not in self._masks:
            self._masks[window] = self._mask(window, dtype)
        return self._masks[window]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        if (branches := self._span.branches) is not None:
            return _additive(branches.seen_NC(self.start, self.end, window, self._device), dtype)
        if window is None and self.start == 0:
            return None
        query_N1 = torch.arange(self.start, self.end, device=self._device)[:, None]
        key_C = torch.arange(self.end, device=self._device)
        seen_NC = key_C <= query_N1
        if window is not None:
            seen_NC &= key_C > query_N1 - window
        return _additive(seen_NC, dtype)


class Step(Protocol):
    """What the model and its attention look at."""

    @property
    def ids_T(self) -> Tensor:
        """Token ids."""
        ...

    @property
    def positions_T(self) -> Tensor:
        """Of each token in its sequence."""
        ...

    @property
    def slots_T(self) -> Tensor:
        """Where each token's keys and values go."""
        ...

    @property
    def num_decode(self) -> int:
        """Single tokens, which come first."""
        ...

    @property
    def decode_tables(self) -> DecodeTables:
        """For the single tokens."""
        ...

    @property
    def prefills(self) -> Sequence[Prefill]:
        """The longer spans."""
        ...


class StepBatch:
    """One step's tokens: first those of sequences that compute a single one, then the longer spans.

    Args:
        spans: single tokens first.
        page_tokens: tokens a page.
        device: where the model is.
    """

    def __init__(self, spans: Sequence[Span], page_tokens: int, device: torch.device) -> None:
        self.num_decode = sum(span.is_single for span in spans)
        assert all(span.is_single for span in spans[: self.num_decode])
        self._spans = spans
        self._page_tokens, self._device = page_tokens, device
        self._views: dict[int | None, DecodeView] = {}
        ids = [token for span in spans for token in span.token_ids]
        positions = [position for span in spans for position in span.positions]
        slots = [slot for span in spans for slot in token_slots(span.pages, span.start, span.end, page_tokens)]
        self.ids_T, self.positions_T, self.slots_T = torch.tensor([ids, positions, slots]).to(device).unbind()
        self.prefills: list[Prefill] = []
        row = self.num_decode
        for span in spans[self.num_decode :]:
            self.prefills.append(Prefill(span, row, page_tokens, device))
            row += len(span.token_ids)

    def __len__(self) -> int:
        return len(self.ids_T)

    @cached_property
    def decode_tables(self) -> DecodeTables:
        """For the single-token rows."""
        return DecodeTables(self._tables(self._spans[: self.num_decode]), self.positions_T[: self.num_decode] + 1)

    @cached_property
    def token_tables(self) -> DecodeTables:
        """For all tokens, as if each were decoded."""
        counts = torch.tensor([len(span.token_ids) for span in self._spans], device=self._device)
        return DecodeTables(self._tables(self._spans).repeat_interleave(counts, dim=0), self.positions_T + 1)

    @property
    def has_branches(self) -> bool:
        """Whether some tokens do not see all before them."""
        return any(span.branches is not None for span in self._spans)

    @property
    def work_of_spans(self) -> int:
        """Pairs of a token and one that it may see, of the span where they are most."""
        return max((len(span.token_ids) * span.end for span in self._spans[self.num_decode :]), default=0)

    def _tables(self, spans: Sequence[Span]) -> Tensor:
        tables = [list(span.pages[: -(-span.end // self._page_tokens)]) for span in spans]
        longest = max(len(table) for table in tables)
        full = [table + [0] * (longest - len(table)) for table in tables]
        return torch.tensor(full, dtype=torch.int32, device=self._device)

    def decode_view(self, window: int | None, dtype: torch.dtype) -> DecodeView:
        """For the single-token rows; made once a step for each window."""
        longest = max(span.end for span in self._spans[: self.num_decode])
        window = None if window is None or window >= longest else window
        if window not in self._views:
            self._views[window] = self._view(window, dtype)
        return self._views[window]

    def _view(self, window: int | None, dtype: torch.dtype) -> DecodeView:
        size = self._page_tokens
        firsts = [0 if window is None else max(0, span.end - window) // size for span in self._spans[: self.num_decode]]
        tables = [
            list(span.pages[first : -(-span.end // size)])
            for first, span in zip(firsts, self._spans[: self.num_decode], strict=True)
        ]
        num_pages = max(len(table) for table in tables)
        # Filled up with pages of its own: a masked score of another's page could still be NaN.
        full = [table + table[:1] * (num_pages - len(table)) for table in tables]
        tables_BP = torch.tensor(full, device=self._device)
        ends_B1 = torch.tensor(
            [[span.end - first * size] for first, span in zip(firsts, self._spans[: self.num_decode], strict=True)],
            device=self._device,
        )
        key_L = torch.arange(num_pages * size, device=self._device)
        seen_BL = key_L < ends_B1
        if window is not None:
            seen_BL &= key_L >= ends_B1 - window
        return DecodeView(tables_BP, _additive(seen_BL, dtype)[:, None, None, :])


def token_slots(pages: Sequence[int], start: int, end: int, page_tokens: int) -> list[int]:
    """The cache slots of the positions from `start` to `end`."""
    return [pages[at // page_tokens] * page_tokens + at % page_tokens for at in range(start, end)]


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
