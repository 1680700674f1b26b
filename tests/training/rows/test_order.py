import math
from collections import Counter
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from base.rendering import Example
from training.config import TrainingConfig
from training.rows.batches import make_batch
from training.rows.order import Schedule, lengths_of, passes
from training.rows.parts import Part

PARTS = st.builds(Part, st.integers(1, 30), st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 3.0]))
ONE: dict[str, Any] = {"accumulation": 1, "epochs": 2, "max_steps": None, "seed": 0}
SCHEDULES = st.builds(
    Schedule,
    parts=st.lists(PARTS, min_size=1, max_size=3).map(tuple),
    batch_size=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    epochs=st.floats(0.1, 4),
    max_steps=st.none() | st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)


def epoch_rows(schedule: Schedule, epoch: int) -> list[int]:
    steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
    return [row for step in steps for row in schedule.step_rows(step)]


@given(SCHEDULES)
def test_an_epoch_takes_every_row_as_often_as_its_file_weighs(schedule: Schedule) -> None:
    for epoch in range(2):
        taken = Counter(epoch_rows(schedule, epoch))
        assert taken.total() == schedule.rows_per_epoch
        start = 0
        for part in schedule.parts:
            times = [taken[row] for row in range(start, start + part.num_rows)]
            assert sum(times) == max(1, round(part.weight * part.num_rows))
            assert set(times) <= {math.floor(part.weight), math.ceil(part.weight)}
            start += part.num_rows


def test_a_half_is_another_half_in_every_epoch_and_whole_weights_repeat_every_row() -> None:
    schedule = Schedule(parts=(Part(40, 0.5), Part(5, 2.0)), batch_size=7, **ONE)
    first, second = (epoch_rows(schedule, epoch) for epoch in (0, 1))
    assert len(first) == len(second) == 30
    assert {row for row in first if row < 40} != {row for row in second if row < 40}
    assert sorted(row for row in first if row >= 40) == sorted(2 * [40, 41, 42, 43, 44])


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
        return Schedule(parts=(Part(40),), batch_size=40, **{**ONE, "seed": seed}).step_rows(step)

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


@given(st.lists(st.integers(1, 99), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 9))
def test_buckets_take_the_same_rows_in_steps_of_like_length(lengths: list[int], size: int, seed: int) -> None:
    settings: dict[str, Any] = {**ONE, "parts": (Part(len(lengths)),), "batch_size": size, "seed": seed}
    schedule = Schedule(**settings, lengths=tuple(lengths))
    steps = [schedule.step_rows(step) for step in range(schedule.steps_per_epoch)]
    assert sorted(row for step in steps for row in step) == list(range(len(lengths)))
    assert all(len(step) == size for step in steps[:-1])
    # No length of one step lies between two of another's.
    ranges = sorted((min(found), max(found)) for found in ([lengths[row] for row in step] for step in steps))
    assert all(first[1] <= second[0] for first, second in pairwise(ranges))
    assert steps == [schedule.step_rows(step) for step in range(schedule.steps_per_epoch)]


def test_buckets_leave_the_order_of_lengths_to_chance() -> None:
    lengths = tuple(range(200))
    schedule = Schedule(parts=(Part(200),), batch_size=4, lengths=lengths, **ONE)
    first = [schedule.step_rows(step)[0] for step in range(50)]
    assert sorted(first) != first != sorted(first, reverse=True)
    assert first != [schedule.step_rows(step)[0] for step in range(50, 100)]


def test_buckets_spare_most_of_the_padding() -> None:
    rows = of_lengths([1 + 7 * n % 90 for n in range(160)])
    config = TrainingConfig(layout="padded", batch_size=4)

    def padding(lengths: tuple[int, ...] | None) -> int:
        schedule = Schedule(parts=(Part(160),), batch_size=4, lengths=lengths, **ONE)
        steps = [passes(rows, schedule.step_rows(step), config) for step in range(schedule.steps_per_epoch)]
        batches = [make_batch(rows, part, "padded", torch.device("cpu")) for step in steps for part in step]
        return sum(batch.input_ids_RT.numel() - batch.num_tokens for batch in batches)

    assert padding(lengths_of(rows)) < padding(None) / 4


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
