"""The inputs of a decoding step in tensors that never move, as a captured graph reads them.

Shape legend: B rows, P pages of the longest sequence that may come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.engine.model.batch import DecodeTables, Prefill, Span, token_slots

Row = tuple[int, int, int, int]
"""Token, position, cache slot, length."""


@dataclass(frozen=True)
class StaticStep:
    """The first rows of `StaticInputs`, as a step."""

    ids_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    decode_tables: DecodeTables

    @property
    def num_decode(self) -> int:
        """All rows."""
        return len(self.ids_T)

    @property
    def prefills(self) -> Sequence[Prefill]:
        """None."""
        return ()


class StaticInputs:
    """Room for `max_rows` sequences of at most `max_pages` pages.

    Rows without a sequence compute a token that sees nothing and is written to the scratch page.
    """

    def __init__(
        self, max_rows: int, max_pages: int, page_tokens: int, scratch_page: int, device: torch.device
    ) -> None:
        self.max_rows, self.max_pages = max_rows, max_pages
        self._page_tokens = page_tokens
        self._padding: Row = (0, 0, scratch_page * page_tokens, 0)
        on_gpu = device.type == "cuda"
        self._host_4B = torch.zeros(4, max_rows, dtype=torch.int64, pin_memory=on_gpu)
        self._host_BP = torch.zeros(max_rows, max_pages, dtype=torch.int32, pin_memory=on_gpu)
        self._device_4B, self._device_BP = self._host_4B.to(device), self._host_BP.to(device)
        self._tables: list[list[int]] = [[] for _ in range(max_rows)]
        self._copied = torch.cuda.Event() if on_gpu else None

    def holds(self, spans: Sequence[Span]) -> bool:
        """Whether these are single tokens, and not too many, of sequences that are not too long."""
        return len(spans) <= self.max_rows and all(
            span.is_single and self._num_pages(span) <= self.max_pages for span in spans
        )

    def step(self, num_rows: int) -> StaticStep:
        """The first so many rows."""
        ids_B, positions_B, slots_B, lengths_B = self._device_4B[:, :num_rows]
        return StaticStep(ids_B, positions_B, slots_B, DecodeTables(self._device_BP[:num_rows], lengths_B))

    def fill(self, spans: Sequence[Span], num_rows: int) -> None:
        """Describes the next step; waits for nothing that runs on the device."""
        if self._copied is not None:
            # The last step's copies may still read the pinned memory.
            self._copied.synchronize()
        rows = [self._row(span) for span in spans]
        rows += [self._padding] * (num_rows - len(rows))
        self._host_4B[:, :num_rows] = torch.tensor(rows).t()
        self._device_4B.copy_(self._host_4B, non_blocking=True)
        for row, span in enumerate(spans):
            self._set_table(row, list(span.pages[: self._num_pages(span)]))
        if self._copied is not None:
            self._copied.record()

    def _row(self, span: Span) -> Row:
        (slot,) = token_slots(span.pages, span.start, span.end, self._page_tokens)
        return span.token_ids[0], span.start, slot, span.end

    def _set_table(self, row: int, pages: list[int]) -> None:
        # Most tables are the last step's.
        if pages != self._tables[row]:
            self._tables[row] = pages
            self._host_BP[row, : len(pages)] = torch.tensor(pages)
            self._device_BP[row, : len(pages)].copy_(self._host_BP[row, : len(pages)], non_blocking=True)

    def _num_pages(self, span: Span) -> int:
        return -(-span.end // self._page_tokens)
