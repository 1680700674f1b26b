import math

from hypothesis import given
from hypothesis import strategies as st

from training.rows.packing import pack

LENGTHS = st.lists(st.integers(1, 100), max_size=60)


@given(LENGTHS, st.integers(1, 120))
def test_every_item_has_one_pack_and_no_pack_is_over_its_budget(lengths: list[int], budget: int) -> None:
    packs = pack(lengths, budget)
    assert sorted(item for items in packs for item in items) == list(range(len(lengths)))
    assert all(len(items) == 1 or sum(lengths[item] for item in items) <= budget for items in packs)


@given(LENGTHS)
def test_packs_are_few(lengths: list[int]) -> None:
    # Johnson's bound, against the number that the lengths alone demand.
    least = math.ceil(sum(lengths) / 100)
    assert len(pack(lengths, 100)) <= max(1, 2 * least) if lengths else not pack(lengths, 100)


def test_an_item_goes_where_it_leaves_the_least_room() -> None:
    assert pack([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


def test_a_longer_item_is_alone() -> None:
    assert pack([3, 50, 4], 10) == [[1], [2, 0]]
