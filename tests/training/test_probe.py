from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from base.loader import LoadedBase
from training.config import TrainingConfig
from training.probe import probe, schedule_of
from training.run import TrainingData

Train = Callable[..., Any]
CONFIG = TrainingConfig(rank=4, batch_size=2, epochs=4)


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.3}, {"layout": "padded"}, {"init": "pissa"}, {"dora": True}])
def test_a_probed_run_is_the_same_to_the_bit(
    train: Train, base: LoadedBase, with_valid: TrainingData, settings: dict[str, Any]
) -> None:
    plain = train("plain", data=with_valid, **settings)
    probe(base, CONFIG.model_copy(update=settings), with_valid)
    probed = train("probed", data=with_valid, **settings)
    assert probed.losses == plain.losses
    assert all(torch.equal(probed.weights[name], weight) for name, weight in plain.weights.items())


def test_weights_and_random_numbers_are_as_before(base: LoadedBase, with_valid: TrainingData) -> None:
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    state = torch.get_rng_state()
    probe(base, CONFIG, with_valid)
    assert torch.equal(torch.get_rng_state(), state)
    after = base.model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not base.model.training


class Clock:
    """Seconds that pass as if each token took a hundredth, each pass one, and an update a quarter."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("training.probe.time.perf_counter", clock)

    def pass_time(_network: object, _objective: object, batches: list[Any], _norm: float) -> None:
        clock.now += 1 + 0.01 * sum(batch.num_tokens for batch in batches)

    def update_time(_optimizer: object, _rate: float) -> None:
        clock.now += 0.25

    monkeypatch.setattr("training.probe.accumulate", pass_time)
    monkeypatch.setattr("training.probe.update", update_time)
    return clock


@pytest.mark.parametrize("settings", [{}, {"max_steps": 3}, {"pack_tokens": 8}, {"gradient_accumulation": 2}])
@pytest.mark.usefixtures("clock")
def test_the_time_is_that_of_all_passes_and_updates(
    base: LoadedBase, with_valid: TrainingData, settings: dict[str, Any]
) -> None:
    config = CONFIG.model_copy(update=settings)
    schedule = schedule_of(config, with_valid.train)
    steps = [schedule.step_rows(step) for step in range(schedule.total_steps)]
    tokens = sum(len(with_valid.train.examples[row].input_ids) for rows in steps for row in rows)
    one_pass_each = "pack_tokens" not in settings
    num_passes = len(steps) if one_pass_each else sum(map(len, steps))
    found = probe(base, config, with_valid)
    assert found.steps_seconds == pytest.approx(num_passes + 0.01 * tokens + 0.25 * len(steps))
    assert found.tokens_per_second == pytest.approx(tokens / found.steps_seconds)
    assert found.seconds == found.steps_seconds + found.evaluation_seconds


def test_evaluations_are_counted_with_the_bases_own(
    base: LoadedBase, with_valid: TrainingData, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        def total(self, _network: object, batch: Any) -> torch.Tensor:
            clock.now += 0.001 * batch.num_tokens
            return torch.zeros(())

    monkeypatch.setattr("training.probe.create_objective", lambda _config: Slow())
    assert with_valid.valid is not None
    each = 0.001 * with_valid.valid.num_tokens
    total = schedule_of(CONFIG, with_valid.train).total_steps
    assert probe(base, CONFIG, with_valid).evaluation_seconds == pytest.approx(5 * each)
    often = CONFIG.model_copy(update={"eval_every": 1})
    assert probe(base, often, with_valid).evaluation_seconds == pytest.approx((total + 1) * each)
    assert probe(base, CONFIG, replace(with_valid, valid=None)).evaluation_seconds == 0
