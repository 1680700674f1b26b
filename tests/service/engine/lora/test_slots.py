import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.engine.lora.fold import FoldedAdapter, FoldedGroup, fold
from service.engine.lora.groups import Group
from service.engine.lora.slots import Slot, Slots
from service.engine.model.products import create_product

GROUPS = (Group(("q", "k"), 3, (4, 2)), Group(("down",), 5, (3,)))
NUM_SLOTS = 3
CPU = torch.device("cpu")


def adapter(seed: int, rank: int, names: frozenset[str], *, dora: bool) -> FoldedAdapter:
    random = torch.Generator().manual_seed(seed)
    groups = {}
    for group in GROUPS:
        if group.name in names:
            groups[group.name] = FoldedGroup(
                torch.randn(group.in_features, rank * len(group.names), generator=random),
                torch.randn(len(group.pieces), rank, group.piece_features, generator=random),
                torch.rand(sum(group.out_features), generator=random) + 2 if dora else None,
            )
    return FoldedAdapter(rank, groups)


def check_content(slots: Slots, slot: Slot, written: FoldedAdapter) -> None:
    """A slot holds exactly its adapter: nothing is left of the one before it."""
    for group in GROUPS:
        stack, part = slots.stack(slot.rank, group.name), written.groups.get(group.name)
        if part is None:
            assert not stack.a_SIR[slot.index].any()
            assert not stack.b_SPRF[slot.index].any()
        else:
            assert torch.equal(stack.a_SIR[slot.index], part.a_IR)
            assert torch.equal(stack.b_SPRF[slot.index], part.b_PRF)
        if stack.ratio_SO is not None:
            plain = torch.ones(sum(group.out_features))
            expected = plain if part is None or part.ratio_O is None else part.ratio_O
            assert torch.equal(stack.ratio_SO[slot.index], expected)
        else:
            assert part is None or part.ratio_O is None


class SlotMachine(RuleBasedStateMachine):
    """Adapters come and go; those that stay must not notice."""

    @initialize()
    def start(self) -> None:
        self.slots = Slots(GROUPS, NUM_SLOTS, torch.float32, CPU)
        self.held: dict[tuple[int, int], tuple[Slot, FoldedAdapter]] = {}
        self.addresses: dict[tuple[int, str, str], int] = {}

    @precondition(lambda self: len(self.held) < NUM_SLOTS)
    @rule(
        seed=st.integers(0, 99),
        rank=st.sampled_from([8, 16]),
        names=st.sets(st.sampled_from(["q", "down"]), min_size=1),
        dora=st.booleans(),
    )
    def write(self, seed: int, rank: int, names: set[str], dora: bool) -> None:
        made = adapter(seed, rank, frozenset(names), dora=dora)
        slot = self.slots.write(made)
        assert (slot.rank, slot.groups, slot.dora) == (rank, frozenset(names), dora)
        taken = {index for of_rank, index in self.held if of_rank == rank}
        assert slot.index == min(set(range(NUM_SLOTS)) - taken)
        self.held[slot.rank, slot.index] = slot, made

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        slot, _ = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        self.slots.free(slot)
        if not any(rank == slot.rank for rank, _ in self.held):
            self.addresses = {key: address for key, address in self.addresses.items() if key[0] != slot.rank}

    @invariant()
    def contents_are_those_written(self) -> None:
        self.slots.check_integrity()
        for slot, written in self.held.values():
            check_content(self.slots, slot, written)

    @invariant()
    def addresses_do_not_change_while_a_rank_is_in_use(self) -> None:
        for rank in {rank for rank, _ in self.held}:
            for group in GROUPS:
                stack = self.slots.stack(rank, group.name)
                for kind, tensor in (("a", stack.a_SIR), ("b", stack.b_SPRF), ("ratio", stack.ratio_SO)):
                    if tensor is not None:
                        key = (rank, group.name, kind)
                        assert self.addresses.setdefault(key, tensor.data_ptr()) == tensor.data_ptr()


def test_slots_hold_what_was_written_whatever_comes_and_goes() -> None:
    run_state_machine_as_test(SlotMachine, settings=settings(max_examples=40, stateful_step_count=20))


def test_a_slot_cannot_be_freed_twice() -> None:
    slots = Slots(GROUPS, NUM_SLOTS, torch.float32, CPU)
    slot = slots.write(adapter(0, 8, frozenset({"q"}), dora=False))
    slots.free(slot)
    with pytest.raises(AssertionError):
        slots.free(slot)


def test_an_adapter_that_cannot_be_written_takes_no_slot() -> None:
    slots = Slots(GROUPS, 1, torch.float32, CPU)
    good, broken = (adapter(seed, 8, frozenset({"q"}), dora=False) for seed in range(2))
    broken.groups["q"].b_PRF.resize_(3)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            slots.write(broken)
    slots.check_integrity()
    check_content(slots, slots.write(good), good)


def test_a_rank_that_no_adapter_has_any_more_gives_its_memory_back() -> None:
    slots = Slots(GROUPS, NUM_SLOTS, torch.float32, CPU)
    large, small = (adapter(0, rank, frozenset({"q"}), dora=False) for rank in (64, 8))
    first, second = slots.write(large), slots.write(large)
    stack = weakref.ref(slots.stack(64, "q"))
    slots.free(first)
    kept = slots.write(small)
    assert stack() is not None
    slots.free(second)
    slots.write(small)
    assert stack() is None
    check_content(slots, kept, small)
    check_content(slots, slots.write(large), large)


def test_a_stack_is_made_with_the_first_adapter_of_its_rank() -> None:
    slots = Slots(GROUPS, NUM_SLOTS, torch.float32, CPU)
    slots.write(adapter(0, 16, frozenset({"q"}), dora=False))
    assert slots.stack(16, "q").a_SIR.shape == (NUM_SLOTS, 3, 32)
    assert slots.stack(16, "q").b_SPRF.shape == (NUM_SLOTS, 3, 16, 2)
    with pytest.raises(KeyError):
        slots.stack(8, "q")


def test_a_folded_adapter_lands_as_it_is(make_weights: Callable[..., Any], make_parts: Callable[..., Any]) -> None:
    made = make_weights(*GROUPS, seed=1, rank=4, dora=True)
    products = {group.name: create_product(make_parts(group), packed=False) for group in GROUPS}
    folded = fold(made.weights, made.config, GROUPS, products, torch.float32)
    slots = Slots(GROUPS, NUM_SLOTS, torch.float32, CPU)
    check_content(slots, slots.write(folded), folded)
