from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from service.engine.lora import routing as routing_module
from service.engine.lora.routing import Batched, Routing, Run, Use, Uses
from service.engine.lora.slots import Slot

CPU = torch.device("cpu")
Contribution = tuple[int, int, int, float]
"""Token, rank, slot, scale."""

PLAIN = [Slot(rank, index, frozenset({f"g{index % 2}"}), dora=False) for rank in (8, 16) for index in range(6)]
DORA = [Slot(8, 7, frozenset({"g0"}), dora=True), Slot(16, 9, frozenset({"g1"}), dora=True)]

merged = st.lists(st.sampled_from(PLAIN), max_size=3, unique=True).flatmap(
    lambda slots: st.tuples(*(st.builds(Use, st.just(slot), st.sampled_from([1.0, 0.5, -2.0])) for slot in slots))
)
alone = st.sampled_from(DORA).map(lambda slot: (Use(slot),))
steps = st.tuples(
    st.lists(st.tuples(merged | alone, st.just(1)), max_size=12),
    st.lists(st.tuples(merged | alone, st.integers(2, 9)), max_size=4),
).map(lambda parts: [*parts[0], *parts[1]])


def plan(rows: Sequence[tuple[Uses, int]]) -> Routing:
    routing = Routing()
    routing.plan([uses for uses, _ in rows], [count for _, count in rows], CPU)
    return routing


def expected(rows: Sequence[tuple[Uses, int]]) -> list[Contribution]:
    starts = [0, *accumulate(count for _, count in rows)]
    return sorted(
        (start + at, use.slot.rank, use.slot.index, use.scale)
        for start, (uses, count) in zip(starts, rows, strict=False)
        for at in range(count)
        for use in uses
    )


def as_list(tokens: torch.Tensor | slice) -> list[int]:
    return list(range(tokens.start, tokens.stop)) if isinstance(tokens, slice) else [int(token) for token in tokens]


def of_batched(batched: Batched) -> list[Contribution]:
    gather, tokens = as_list(batched.gather), as_list(batched.tokens)
    places = list(range(len(gather))) if batched.places is None else as_list(batched.places)
    scales = [1.0] * len(tokens) if batched.scales is None else batched.scales.flatten().tolist()
    assert len(gather) % batched.num_slots == 0
    assert len(set(places)) == len(places)
    assert [gather[place] for place in places] == tokens
    per_slot = len(gather) // batched.num_slots
    return [
        (token, batched.rank, batched.slots.start + place // per_slot, scale)
        for token, place, scale in zip(tokens, places, scales, strict=True)
    ]


def of_run(run: Run) -> list[Contribution]:
    return [(token, run.rank, run.use.slot.index, run.use.scale) for token in range(run.start, run.end)]


def contributions(routing: Routing) -> list[Contribution]:
    found = [each for batched in routing.batched for each in of_batched(batched)]
    return sorted(found + [each for run in routing.runs for each in of_run(run)])


@pytest.mark.parametrize("batching", [None, True, False], ids=["as it pays", "always batched", "always runs"])
@given(rows=steps)
def test_every_token_goes_once_through_each_of_its_slots(batching: bool | None, rows: list[tuple[Uses, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if batching is not None:
            patch.setattr(routing_module, "_batching_pays", lambda _: batching)
        routing = plan(rows)
    assert contributions(routing) == expected(rows)


@given(rows=steps)
def test_a_plan_names_every_group_that_its_slots_change(rows: list[tuple[Uses, int]]) -> None:
    routing = plan(rows)
    groups = {(slot.rank, slot.index): slot.groups for slot in [*PLAIN, *DORA]}
    for batched in routing.batched:
        assert batched.groups == frozenset().union(*(groups[rank, index] for _, rank, index, _ in of_batched(batched)))
    assert all(run.groups == groups[run.rank, run.use.slot.index] for run in routing.runs)


@given(rows=steps)
def test_magnitudes_are_of_the_dora_tokens_each_once(rows: list[tuple[Uses, int]]) -> None:
    found = [
        (int(token), each.rank, int(index), 1.0)
        for each in plan(rows).magnitudes
        for token, index in zip(each.tokens, each.indices, strict=True)
    ]
    dora = {(slot.rank, slot.index) for slot in DORA}
    assert sorted(found) == [each for each in expected(rows) if each[1:3] in dora]


def test_a_step_of_the_base_alone_plans_nothing() -> None:
    routing = plan([((Use(PLAIN[0]),), 3)])
    routing.plan([(), ()], [1, 5], CPU)
    assert (*routing.batched, *routing.runs, *routing.magnitudes) == ()


def test_single_tokens_sorted_by_slot_are_read_where_they_lie() -> None:
    (batched,) = plan([((), 1), *(((Use(PLAIN[at // 2]),), 1) for at in range(8))]).batched
    assert (batched.gather, batched.tokens, batched.places, batched.scales) == (slice(1, 9), slice(1, 9), None, None)
    assert batched.slots == slice(0, 4)


def test_a_prompts_tokens_are_not_put_among_single_ones() -> None:
    routing = plan([*(((Use(slot),), 1) for slot in PLAIN[:4]), ((Use(PLAIN[0]),), 40)])
    assert [len(as_list(batched.gather)) for batched in routing.batched] == [4]
    assert [(run.start, run.end) for run in routing.runs] == [(4, 44)]


def test_neighbours_under_one_use_are_one_run() -> None:
    use = Use(PLAIN[1], 0.5)
    routing = plan([((use,), 1), ((use,), 1), ((use,), 30), ((use,), 20), ((Use(PLAIN[1]),), 20)])
    assert [(run.start, run.end, run.use.scale) for run in routing.runs] == [
        (0, 2, 0.5),
        (2, 52, 0.5),
        (52, 72, 1.0),
    ]


def test_slots_far_apart_are_not_read_through() -> None:
    near, far = Slot(8, 0, frozenset({"g"}), dora=False), Slot(8, 60, frozenset({"g"}), dora=False)
    routing = plan([((Use(near),), 1), ((Use(far),), 1)])
    assert not routing.batched
    assert len(routing.runs) == 2
