"""Where adapters live on the device: stacked weights whose addresses do not change while any adapter has their rank.

Shape legend: S slots, I in_features, O out_features of all parts, N parts, R rank, P pieces of the outputs, F features
of a piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.lora.fold import FoldedAdapter, FoldedGroup
from service.engine.lora.groups import Group
from service.engine.memory import zeros


@dataclass(frozen=True)
class Slot:
    """The place of one adapter."""

    rank: int
    """Which stack."""
    index: int
    """Where in it."""
    groups: frozenset[str]
    """Groups that the adapter changes."""
    dora: bool


@dataclass
class Stack:
    """The weights of one group of layers for every slot of one rank."""

    a_SIR: Tensor
    b_SPRF: Tensor
    parts_P: Tensor
    """The part of each piece, int32."""
    ranks_SN: Tensor
    """Active rank of each slot's parts, int32: what lies beyond is zero."""
    ratio_SO: Tensor | None = None
    """DoRA: 1 where an adapter is plain LoRA. Made with the first DoRA adapter."""

    @cached_property
    def arrays(self) -> tuple[Array, Array, Array]:
        """`a_SIR`, `b_SPRF` and `parts_P` as compiled functions on the CPU take them; the memory never moves."""
        return array(self.a_SIR), array(self.b_SPRF), array(self.parts_P)


class Slots:
    """Stacks by rank, so that a small adapter never pays for a large one.

    A rank's stacks are made with its first adapter, and may go when another rank's comes after its last. Writing into a
    slot is safe while others are read: a free slot's result is used by nobody.
    """

    def __init__(self, groups: Sequence[Group], num_slots: int, dtype: torch.dtype, device: torch.device) -> None:
        self._groups = groups
        self._num_slots = num_slots
        self.dtype, self._device = dtype, device
        self._stacks: dict[int, dict[str, Stack]] = {}
        self._free: dict[int, list[int]] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def stack(self, rank: int, group: str) -> Stack:
        """The weights of a group."""
        return self._stacks[rank][group]

    def write(self, adapter: FoldedAdapter) -> Slot:
        """Copies an adapter into a free slot, and on CUDA returns when it has arrived; the engine computes meanwhile.

        Callers keep the number of written slots within `num_slots`.
        """
        if self._stream is None:
            return self._fill(adapter)
        # What is under way may still read the slot for a request that was cancelled, and its keys may be kept.
        self._stream.wait_stream(torch.cuda.default_stream(self._device))
        with torch.cuda.stream(self._stream):
            slot = self._fill(adapter)
        self._stream.synchronize()
        return slot

    def _fill(self, adapter: FoldedAdapter) -> Slot:
        self._drop_unused(adapter.rank)
        stacks = self._stacks.get(adapter.rank) or self._create(adapter.rank)
        # The lowest: batched products run over a range of slots, so they should lie close together.
        index = min(self._free[adapter.rank])
        for name, stack in stacks.items():
            _write(stack, index, adapter.groups.get(name))
        # Only now, so that an adapter that cannot be written leaves its place to others.
        self._free[adapter.rank].remove(index)
        return Slot(adapter.rank, index, frozenset(adapter.groups), adapter.dora)

    def free(self, slot: Slot) -> None:
        """Gives the place to others; nothing may run on it any more."""
        assert slot.index not in self._free[slot.rank]
        self._free[slot.rank].append(slot.index)

    def check_integrity(self) -> None:
        """Asserts that no slot is free twice."""
        for free in self._free.values():
            assert len(set(free)) == len(free) <= self._num_slots

    def _drop_unused(self, rank: int) -> None:
        """Gives the memory of other ranks back that no adapter has any more; on CUDA, graphs hold their addresses."""
        if self._stream is None:
            for other in [each for each, free in self._free.items() if len(free) == self._num_slots and each != rank]:
                del self._free[other], self._stacks[other]

    def _create(self, rank: int) -> Mapping[str, Stack]:
        self._stacks[rank] = {group.name: self._stack(group, rank) for group in self._groups}
        self._free[rank] = list(range(self._num_slots))
        return self._stacks[rank]

    def _stack(self, group: Group, rank: int) -> Stack:
        a_SIR = self._zeros(group.in_features, rank * len(group.names))
        return Stack(
            a_SIR,
            self._zeros(len(group.pieces), rank, group.piece_features),
            parts_P=torch.tensor(group.pieces, dtype=torch.int32, device=self._device),
            ranks_SN=torch.zeros(self._num_slots, len(group.names), dtype=torch.int32, device=self._device),
        )

    def _zeros(self, *size: int) -> Tensor:
        return zeros((self._num_slots, *size), self.dtype, self._device)


def _write(stack: Stack, index: int, part: FoldedGroup | None) -> None:
    num_parts = stack.ranks_SN.shape[1]
    widest = (stack.b_SPRF.shape[2],) * num_parts
    ranks = (0,) * num_parts if part is None else part.ranks or widest
    stack.ranks_SN[index].copy_(torch.tensor(ranks, dtype=torch.int32))
    if part is None:
        # Skipped, unless a neighbour in the batch changes this group: then what an earlier adapter left here is read.
        stack.a_SIR[index].zero_()
        stack.b_SPRF[index].zero_()
    else:
        stack.a_SIR[index].copy_(part.a_IR, non_blocking=True)
        stack.b_SPRF[index].copy_(part.b_PRF, non_blocking=True)
    ratio_O = None if part is None else part.ratio_O
    if ratio_O is not None and stack.ratio_SO is None:
        _, num_pieces, _, features = stack.b_SPRF.shape
        stack.ratio_SO = torch.ones(len(stack.a_SIR), num_pieces * features, device=stack.a_SIR.device)
    if stack.ratio_SO is not None:
        stack.ratio_SO[index].copy_(torch.ones(()) if ratio_O is None else ratio_O)
