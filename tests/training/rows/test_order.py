from hypothesis import given
from hypothesis import strategies as st

from base.rendering import Example
from training.config import TrainingConfig
from training.rows.order import Schedule, passes

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
        rows = [row for step in steps for row in schedule.step_rows(step)]
        assert sorted(rows) == list(range(schedule.num_rows))


@given(SCHEDULES, st.integers(0, 100))
def test_a_step_holds_what_is_asked_and_is_never_empty(schedule: Schedule, step: int) -> None:
    rows = schedule.step_rows(step)
    assert 1 <= len(rows) <= schedule.batch_size * schedule.accumulation
    assert rows == schedule.step_rows(step)


@given(SCHEDULES)
def test_the_number_of_steps_is_bounded(schedule: Schedule) -> None:
    assert 1 <= schedule.total_steps <= max(1, round(schedule.epochs * schedule.steps_per_epoch))
    assert schedule.max_steps is None or schedule.total_steps <= schedule.max_steps


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    def order(seed: int, step: int) -> list[int]:
        return Schedule(num_rows=40, batch_size=40, accumulation=1, epochs=2, max_steps=None, seed=seed).step_rows(step)

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=30)


def of_lengths(lengths: list[int]) -> list[Example]:
    return [Example((1,) * length, (True,) * length) for length in lengths]


@given(LENGTHS, st.integers(1, 8))
def test_padded_passes_take_every_row_once_and_likes_together(lengths: list[int], batch_size: int) -> None:
    config = TrainingConfig(layout="padded", batch_size=batch_size)
    divided = passes(of_lengths(lengths), range(len(lengths)), config)
    rows = [row for part in divided for row in part]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)
    assert all(len(part) == batch_size for part in divided[:-1])


@given(LENGTHS, st.integers(8, 40))
def test_packed_passes_take_the_chosen_rows_once(lengths: list[int], budget: int) -> None:
    chosen = list(range(0, len(lengths), 2))
    divided = passes(of_lengths(lengths), chosen, TrainingConfig(pack_tokens=budget))
    assert sorted(row for part in divided for row in part) == chosen
    assert all(len(part) == 1 or sum(lengths[row] for row in part) <= budget for part in divided)
