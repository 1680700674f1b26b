"""A run that begins with another adapter's weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from training.errors import CheckpointError, Stopped
from training.rows.examples import Prepared
from training.run import TrainingData

Train = Callable[..., Any]


@pytest.fixture
def data(rows: Prepared) -> TrainingData:
    return TrainingData(train=rows, digest="sha256:" + "0" * 64, initial_digest="sha256:" + "2" * 64)


@pytest.mark.parametrize("kind", [{}, {"dora": True, "rslora": True}], ids=str)
def test_the_first_loss_is_where_the_other_run_ended(train: Train, data: TrainingData, kind: dict[str, Any]) -> None:
    settings = {"batch_size": 7, "epochs": 20, **kind}
    first = train("first", max_steps=8, **settings)
    second = train("second", max_steps=2, data=data, initial=first.output, **settings)
    longer = train("longer", max_steps=9, **settings)
    assert second.losses[0] < 0.9 * first.losses[0]
    assert second.losses[0] == pytest.approx(longer.losses[-1], rel=0.2)
    assert second.manifest.training["init_digest"] == data.initial_digest


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(train: Train, data: TrainingData) -> None:
    first = train("first")
    settings = {"data": data, "initial": first.output, "lora_plus_ratio": 4.0}
    whole = train("whole", **settings)
    with pytest.raises(Stopped):
        train("parts", should_stop=lambda run: len(run.losses) == 3, **settings)
    rest = train("parts", resume=True, **settings)
    assert rest.losses == whole.losses[3:]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())


def test_a_checkpoint_that_began_elsewhere_is_refused(train: Train, data: TrainingData) -> None:
    first = train("first")
    train("second", data=data, initial=first.output)
    with pytest.raises(CheckpointError, match="other settings, data or base"):
        train("second", data=replace(data, initial_digest=None), resume=True)
