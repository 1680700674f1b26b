from typing import Any

import pytest

from service.engine.request import SamplingParams
from service.engine.sampling.state import SamplingState


def state(prompt_ids: tuple[int, ...] = (), stop_ids: tuple[int, ...] = (), **values: Any) -> SamplingState:
    return SamplingState(SamplingParams(max_tokens=9, **values), prompt_ids, stop_ids, 100)


def barred(row: SamplingState) -> list[int]:
    return row.bias.token_ids_B.tolist()


def test_end_tokens_are_barred_until_min_tokens() -> None:
    row = state(stop_ids=(5, 3), stop_token_ids=frozenset([9]), min_tokens=2)
    assert barred(row) == row.barred_ids == [3, 5, 9]
    row.accept(1)
    assert barred(row) == [3, 5, 9]
    row.accept(1)
    assert barred(row) == row.barred_ids == []


def test_end_tokens_that_are_ignored_are_not_barred_but_the_callers_are() -> None:
    row = state(stop_ids=(5,), stop_token_ids=frozenset([9]), min_tokens=1, ignore_eos=True)
    assert row.barred_ids == [9]


def test_ids_outside_the_vocabulary_are_passed_over() -> None:
    row = state((-1, 100, 7), (100, -4), min_tokens=1, logit_bias=((100, 1.0), (-1, 1.0)), repetition_penalty=2.0)
    assert row.barred_ids == []
    assert len(row.bias) == 0
    assert row.seen is not None
    assert row.seen.token_ids_S.tolist() == [7]


def test_only_the_repetition_penalty_counts_the_prompt() -> None:
    repeated, present = state((7, 7), repetition_penalty=1.1), state((7, 7), presence_penalty=1.0)
    assert repeated.seen is not None
    assert present.seen is not None
    assert (len(repeated.seen), len(present.seen)) == (1, 0)


def test_no_penalties_no_counts() -> None:
    assert state((1, 2)).seen is None


@pytest.mark.parametrize("seed", [0, -1, 2**63, 2**64 + 1, 10**30])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    first, second = state(seed=seed), state(seed=seed)
    assert [first.uniform() for _ in range(20)] == [second.uniform() for _ in range(20)]


def test_seeds_of_either_sign_differ() -> None:
    assert state(seed=7).uniform() != state(seed=-7).uniform()


def test_without_a_seed_each_request_draws_its_own() -> None:
    assert len({state().uniform() for _ in range(40)}) > 1


@pytest.mark.parametrize(
    ("values", "greedy"),
    [
        ({}, True),
        ({"temperature": 1e-40}, True),
        ({"temperature": 1.0}, False),
        ({"temperature": 1.0, "top_k": 1}, True),
    ],
)
def test_greedy_where_only_the_likeliest_can_come(values: dict[str, Any], greedy: bool) -> None:
    assert state(**values).is_greedy is greedy
