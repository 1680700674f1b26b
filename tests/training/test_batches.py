import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from base.rendering import Example
from training.batches import Schedule, in_length_order, make_batch
from training.schedule import learning_rate_factor

SCHEDULES = st.builds(
    Schedule,
    num_rows=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    epochs=st.floats(0.1, 4),
    max_steps=st.none() | st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)


@given(SCHEDULES)
def test_an_epoch_takes_every_row_once(schedule: Schedule) -> None:
    for epoch in range(2):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        rows = [row for step in steps for passed in schedule.step_rows(step) for row in passed]
        assert sorted(rows) == list(range(schedule.num_rows))


@given(SCHEDULES, st.integers(0, 100))
def test_a_step_holds_what_is_asked_and_is_never_empty(schedule: Schedule, step: int) -> None:
    passes = schedule.step_rows(step)
    assert 1 <= len(passes) <= schedule.accumulation
    assert all(1 <= len(rows) <= schedule.batch_size for rows in passes)
    assert passes == schedule.step_rows(step)


@given(SCHEDULES)
def test_the_number_of_steps_is_bounded(schedule: Schedule) -> None:
    assert 1 <= schedule.total_steps <= max(1, round(schedule.epochs * schedule.steps_per_epoch))
    assert schedule.max_steps is None or schedule.total_steps <= schedule.max_steps


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(seed: int, step: int) -> list[list[int]]:
        return Schedule(num_rows=40, batch_size=40, accumulation=1, epochs=2, max_steps=None, seed=seed).step_rows(step)

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_learning_rate_rises_then_falls_and_is_never_zero(total_steps: int, warmup_ratio: float) -> None:
    factors = [learning_rate_factor(step, total_steps, warmup_ratio) for step in range(total_steps)]
    peak = factors.index(max(factors))
    assert max(factors) == 1.0
    assert all(factor > 0 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 8))
def test_length_order_takes_every_row_once_and_likes_together(lengths: list[int], batch_size: int) -> None:
    examples = [Example((1,) * length, (True,) * length) for length in lengths]
    batches = list(in_length_order(examples, batch_size))
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)


def test_a_pack_begins_its_positions_again_with_each_row() -> None:
    examples = [Example((5, 6, 7), (False, True, True)), Example((8, 9), (False, True))]
    batch = make_batch(examples, [1, 0], "packed", torch.device("cpu"))
    assert batch.input_ids_RT.tolist() == [[8, 9, 5, 6, 7]]
    assert batch.position_ids_RT.tolist() == [[0, 1, 0, 1, 2]]
    assert batch.attention_mask_RT is None
    assert (batch.num_tokens, batch.rows) == (5, (1, 0))


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_each_predictor_stands_before_its_target(layout: str) -> None:
    examples = [Example((5, 6, 7), (False, False, True)), Example((8, 9), (False, True))]
    batch = make_batch(examples, [0, 1], layout, torch.device("cpu"))  # type: ignore[arg-type]
    rows, columns = batch.predictors
    assert batch.input_ids_RT[rows, columns].tolist() == [6, 8]
    assert batch.targets_L.tolist() == [7, 9]
