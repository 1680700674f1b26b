"""Files that weigh differently: what is drawn, and that a resumed run draws the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from training.errors import CheckpointError, Stopped
from training.rows.examples import Origin, Prepared
from training.run import TrainingData

Train = Callable[..., Any]


def weighted(rows: Prepared, first: float, second: float) -> TrainingData:
    """Four rows of one file and three of another."""
    origins = [Origin("a", line, first) for line in range(4)] + [Origin("b", line, second) for line in range(3)]
    return TrainingData(train=replace(rows, origins=tuple(origins)), digest="sha256:" + "0" * 64)


def test_a_file_of_weight_two_counts_as_if_its_rows_stood_there_twice(train: Train, rows: Prepared) -> None:
    run = train(data=weighted(rows, 1, 2), batch_size=16, max_steps=1, epochs=9)
    examples = rows.examples
    doubled = TrainingData(train=Prepared((*examples, *examples[4:]), 0, ()), digest="sha256:" + "0" * 64)
    assert run.losses == pytest.approx(train("doubled", data=doubled, batch_size=16, max_steps=1, epochs=9).losses)
    assert run.losses != pytest.approx(train("plain", batch_size=16, max_steps=1, epochs=9).losses)
    assert run.result.trained_tokens == sum(len(row.input_ids) for row in (*examples, *examples[4:]))


def test_a_run_over_weighted_files_resumes_to_the_bit(train: Train, rows: Prepared) -> None:
    settings: dict[str, Any] = {"data": weighted(rows, 0.5, 1.5), "batch_size": 2, "epochs": 3, "max_steps": None}
    whole = train("whole", **settings)
    # Two rows of the first file and four of the other, three epochs of three steps.
    assert whole.result.steps == 9
    with pytest.raises(Stopped):
        train("parts", should_stop=lambda run: len(run.losses) == 4, **settings)
    rest = train("parts", resume=True, **settings)
    assert rest.losses == whole.losses[4:]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())


def test_a_checkpoint_of_other_weights_is_refused(train: Train, rows: Prepared) -> None:
    train(max_steps=2, data=weighted(rows, 1, 2))
    with pytest.raises(CheckpointError, match="other settings, data or base"):
        train(max_steps=2, data=weighted(rows, 1, 3), resume=True)
