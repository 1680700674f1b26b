import math
import resource
import signal
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from base.loader import LoadedBase, LoadOptions, load
from base.rendering import Example
from base.source import BaseSource
from storage import durable
from training.artifacts import checkpoint, output
from training.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    DivergedError,
    NoTrainingRowsError,
    OutputError,
    Stopped,
)
from training.events import CheckpointEvent, EarlyStopEvent, EvalEvent, StartEvent, StepEvent, WarningEvent
from training.layers.network import Network
from training.objectives.supervised import Supervised
from training.optimization import step
from training.rows.batches import Batch
from training.rows.examples import Prepared
from training.run import TrainingData

Train = Callable[..., Any]
DIGEST = "sha256:" + "0" * 64


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every stored tensor of the base, the bookkeeping of its quantisation included."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model: torch.nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = state_of(model)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
@pytest.mark.parametrize("dora", [False, True])
def test_the_loss_falls_and_the_base_stays_as_it_was(
    train: Train, load_base: Callable[..., LoadedBase], with_valid: TrainingData, quantization: str, dora: bool
) -> None:
    base = load_base(quantization)
    before = state_of(base.model)
    run = train(base=base, data=with_valid, max_steps=10, batch_size=5, epochs=20, eval_every=5, dora=dora)
    assert run.losses[-1] < 0.8 * run.losses[0]
    assert_untouched(base.model, before)


def test_accumulated_passes_are_one_big_batch(train: Train) -> None:
    whole = train("whole", batch_size=6, max_steps=3)
    parts = train("parts", batch_size=2, gradient_accumulation=3, max_steps=3)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, weight in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"layout": "padded"}, {"pack_tokens": 40}, {"activation_checkpointing": True}])
def test_how_a_step_is_computed_does_not_matter(train: Train, change: dict[str, Any]) -> None:
    packed, other = train("packed", batch_size=4), train("other", batch_size=4, **change)
    assert other.losses == pytest.approx(packed.losses, rel=1e-4)


def test_eight_bit_moments_learn_as_well(train: Train) -> None:
    settings = {"max_steps": 10, "batch_size": 7, "epochs": 20}
    exact, rounded = train("exact", **settings), train("rounded", optimizer="adamw_8bit", **settings)
    assert rounded.losses[-1] == pytest.approx(exact.losses[-1], rel=0.1)


def test_an_optimizer_that_the_device_cannot_run_is_refused(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(ConfigError, match="here use adamw_8bit"):
        train(optimizer="paged_adamw_8bit")
    assert_untouched(base.model, before)


def test_a_base_in_bfloat16_learns(train: Train, tiny_base_folder: Path) -> None:
    base = load(BaseSource("tiny", tiny_base_folder), LoadOptions(device="cpu", dtype="bfloat16"))
    settings = {"max_steps": 10, "batch_size": 7, "epochs": 20}
    exact, rounded = train("exact", **settings), train("rounded", base=base, **settings)
    assert rounded.losses == pytest.approx(exact.losses, rel=0.05)


def test_float16_is_refused_before_anything_changes(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(ConfigError, match="bfloat16"):
        train(base=replace(base, dtype=torch.float16))
    assert_untouched(base.model, before)


def test_a_run_is_repeated_to_the_bit(train: Train) -> None:
    first, second = train("first", dropout=0.2), train("second", dropout=0.2)
    assert first.losses == second.losses
    assert all(torch.equal(second.weights[name], weight) for name, weight in first.weights.items())


@pytest.mark.parametrize(
    "change", [{}, {"dropout": 0.3, "dora": True}, {"optimizer": "adamw_8bit", "rank": 64}], ids=str
)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    train: Train,
    load_base: Callable[..., LoadedBase],
    with_valid: TrainingData,
    quantization: str,
    change: dict[str, Any],
) -> None:
    settings = {"data": with_valid, "eval_every": 2, "weight_decay": 0.1, **change}
    whole = train("whole", base=load_base(quantization), **settings)
    with pytest.raises(Stopped) as caught:
        train("parts", base=load_base(quantization), should_stop=lambda run: len(run.losses) == 3, **settings)
    assert (caught.value.step, caught.value.checkpoint.name) == (3, "step-3")
    torch.rand(17)
    rest = train("parts", base=load_base(quantization), resume=True, **settings)

    assert rest.losses == whole.losses[3:]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())
    last = [load_file(run.output / "checkpoints" / "step-6" / "optimizer.safetensors") for run in (whole, rest)]
    assert set(last[0]) == set(last[1])
    assert all(torch.equal(last[1][name], tensor) for name, tensor in last[0].items())
    assert rest.result.valid_loss == whole.result.valid_loss
    assert rest.result.base_valid_loss == whole.result.base_valid_loss
    assert rest.result.trained_tokens == whole.result.trained_tokens


def test_resuming_a_finished_run_writes_the_same_adapter_again(train: Train, with_valid: TrainingData) -> None:
    first = train(data=with_valid)
    weights = first.weights
    again = train(data=with_valid, resume=True)
    assert again.losses == []
    assert all(torch.equal(again.weights[name], weight) for name, weight in weights.items())
    assert again.result.valid_loss == first.result.valid_loss


def test_resuming_without_a_checkpoint_begins(train: Train) -> None:
    assert len(train(resume=True).losses) == 6


def test_a_stop_on_the_last_step_finishes(train: Train) -> None:
    run = train(should_stop=lambda run: len(run.losses) == 6)
    assert run.result.steps == 6


def test_a_stopped_run_gives_the_base_back(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(Stopped, match="--resume"):
        train(should_stop=lambda run: True)  # noqa: ARG005
    assert_untouched(base.model, before)


class Failing(Supervised):
    """Gives `value` times the loss at the third pass."""

    def __init__(self, value: float) -> None:
        self.value, self.passes = value, 0

    def total(self, network: Network, batch: Batch) -> torch.Tensor:
        self.passes += 1
        return super().total(network, batch) * (self.value if self.passes == 3 else 1)


def test_a_diverging_run_says_where_and_gives_the_base_back(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(DivergedError, match=r"step 3: loss nan.*rows data\.jsonl:1; .*--learning-rate \(now 0.005\)"):
        train(objective=Failing(math.nan), save_every=1)
    assert_untouched(base.model, before)


def test_a_diverged_step_is_in_no_checkpoint(train: Train, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"the last checkpoint is .*/step-2$"):
        train(objective=Failing(math.inf), save_every=1)
    assert sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir()) == ["step-1", "step-2"]


def test_events_tell_the_run_in_order(train: Train, with_valid: TrainingData, base: LoadedBase) -> None:
    parameters = base.num_parameters
    run = train(data=with_valid, eval_every=3, save_every=3, max_steps=4)
    assert [type(event) for event in run.events] == [
        StartEvent,
        EvalEvent,
        *[StepEvent] * 3,
        EvalEvent,
        CheckpointEvent,
        StepEvent,
        EvalEvent,
        CheckpointEvent,
    ]
    start = run.events[0]
    assert (start.total_steps, start.train_rows, start.valid_rows) == (4, 5, 2)
    assert start.total_parameters == parameters
    assert start.trainable_parameters == sum(weight.numel() for weight in run.weights.values())
    assert [event.step for event in run.events if isinstance(event, EvalEvent)] == [0, 3, 4]
    assert run.events[2].to_json()["event"] == "step"


def test_only_the_newest_checkpoints_are_kept(train: Train) -> None:
    run = train(save_every=1, keep_checkpoints=2)
    assert sorted(path.name for path in (run.output / "checkpoints").iterdir()) == ["step-5", "step-6"]


def test_what_an_earlier_run_left_does_not_push_out_this_runs_checkpoints(train: Train) -> None:
    train(max_steps=6, save_every=1)
    with pytest.raises(Stopped) as caught:
        train(max_steps=5, should_stop=lambda run: len(run.losses) == 2)
    assert [path.name for path in caught.value.checkpoint.parent.iterdir()] == ["step-2"]
    assert len(train(max_steps=5, resume=True).losses) == 3


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"seed": 1}, {"max_length": 64}])
def test_a_checkpoint_of_other_settings_is_refused(train: Train, change: dict[str, Any]) -> None:
    train(max_steps=2)
    with pytest.raises(CheckpointError, match="other settings, data or base"):
        train(resume=True, **{"max_steps": 2, **change})


def test_a_checkpoint_of_other_data_or_base_is_refused(
    train: Train, rows: Prepared, load_base: Callable[..., LoadedBase]
) -> None:
    train(max_steps=2)
    other = TrainingData(train=Prepared(rows.examples[1:], 0, ()), digest=DIGEST)
    with pytest.raises(CheckpointError, match="other settings, data or base"):
        train(max_steps=2, resume=True, data=other)
    with pytest.raises(CheckpointError, match="other settings, data or base"):
        train(max_steps=2, resume=True, base=load_base("int8"))


def test_a_run_without_rows_is_refused(rows: Prepared) -> None:
    nothing = Prepared((), 0, ())
    with pytest.raises(NoTrainingRowsError):
        TrainingData(train=nothing, digest=DIGEST)
    with pytest.raises(NoTrainingRowsError):
        TrainingData(train=rows, valid=nothing, digest=DIGEST)


def test_an_unknown_target_is_refused_before_anything_changes(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(ConfigError, match="did you mean q_proj"):
        train(target_modules=["q_porj"])
    assert_untouched(base.model, before)


def test_the_held_out_loss_is_of_the_base_first_and_of_the_adapter_last(train: Train, with_valid: TrainingData) -> None:
    # Held out are the training rows themselves, so that learning shows.
    data = TrainingData(train=with_valid.train, valid=with_valid.train, digest=DIGEST)
    run = train(data=data, max_steps=10, batch_size=5, epochs=20)
    assert run.result.base_valid_loss == pytest.approx(run.losses[0], rel=1e-4)
    assert run.result.valid_loss < 0.8 * run.result.base_valid_loss


def test_a_single_short_row_can_be_learnt(train: Train) -> None:
    row = Example((5, 6), (False, True))
    run = train(data=TrainingData(train=Prepared((row,), 0, ()), digest=DIGEST), batch_size=4)
    assert run.losses[-1] < run.losses[0]


def evaluations(run: Any) -> dict[int, float]:
    return {event.step: event.valid_loss for event in run.events if isinstance(event, EvalEvent) and event.step}


# So fast that the held-out loss goes up and down.
WILD = {"learning_rate": 0.05, "max_steps": 10, "epochs": 20, "eval_every": 1}


def test_the_best_state_is_kept_and_published(train: Train, with_valid: TrainingData) -> None:
    run = train(data=with_valid, save_every=5, keep_checkpoints=1, **WILD)
    found = evaluations(run)
    best = min(found, key=lambda step: found[step])
    assert best < 10, "otherwise this test shows nothing"
    assert (run.result.published_step, run.result.valid_loss) == (best, found[best])
    assert (run.result.steps, run.result.last_valid_loss) == (10, found[10])
    kept = sorted(path.name for path in (run.output / "checkpoints").iterdir())
    assert kept == sorted({f"step-{best}", "step-10"})
    stored = load_file(run.output / "checkpoints" / f"step-{best}" / "adapter_model.safetensors")
    assert all(torch.equal(run.weights[name], tensor) for name, tensor in stored.items())


def test_the_last_state_is_published_where_that_is_asked_for(train: Train, with_valid: TrainingData) -> None:
    run = train(data=with_valid, load_best_model_at_end=False, **WILD)
    assert (run.result.published_step, run.result.valid_loss) == (10, evaluations(run)[10])
    stored = load_file(run.output / "checkpoints" / "step-10" / "adapter_model.safetensors")
    assert all(torch.equal(run.weights[name], tensor) for name, tensor in stored.items())


@pytest.mark.parametrize("stop_at", [2, 5, 8])
def test_a_resumed_run_knows_the_best_of_before_and_ends_as_early(
    train: Train, with_valid: TrainingData, stop_at: int
) -> None:
    settings = {"data": with_valid, "keep_checkpoints": 1, "early_stopping_patience": 6, **WILD, "max_steps": 40}
    whole = train("whole", **settings)
    assert any(isinstance(event, EarlyStopEvent) for event in whole.events)
    assert whole.result.steps < 40
    with pytest.raises(Stopped):
        train("parts", should_stop=lambda run: len(run.losses) == stop_at, **settings)
    rest = train("parts", resume=True, **settings)
    assert rest.losses == whole.losses[stop_at:]
    assert rest.result.published_step == whole.result.published_step
    assert rest.result.valid_loss == whole.result.valid_loss
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())
    again = train("parts", resume=True, **settings)
    assert again.losses == []
    assert all(torch.equal(again.weights[name], weight) for name, weight in whole.weights.items())


def test_patience_without_held_out_rows_is_refused_before_anything_changes(train: Train, base: LoadedBase) -> None:
    before = state_of(base.model)
    with pytest.raises(ConfigError, match="needs held-out rows"):
        train(early_stopping_patience=2)
    assert_untouched(base.model, before)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_device_that_fails_is_named_with_the_checkpoint_that_is_left(
    train: Train, base: LoadedBase, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    whole = train("whole")
    genuine, calls = step.update, []

    def fail_at_the_fourth(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise kind("CUDA error: lost\nmore")
        genuine(*arguments)

    before = state_of(base.model)
    with monkeypatch.context() as patched:
        patched.setattr("training.loop.update", fail_at_the_fourth)
        with pytest.raises(
            DeviceError,
            match=r"step 4: the device failed: CUDA error: lost; the last checkpoint is .*/step-3: .*--resume",
        ):
            train("parts", save_every=1)
    assert_untouched(base.model, before)
    rest = train("parts", save_every=1, resume=True)
    assert rest.losses == whole.losses[3:]


@pytest.mark.parametrize("at", ["step-4", "adapter"])
def test_a_full_disk_leaves_the_last_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Beyond the limit the system itself refuses to write, as a full disk does."""
    whole = train("whole", save_every=2)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    genuine = durable.staged_folder

    @contextmanager
    def full(target: Path) -> Any:
        with genuine(target) as staged:
            if at in target.name:
                resource.setrlimit(resource.RLIMIT_FSIZE, (512, limit[1]))
            yield staged

    with monkeypatch.context() as patched:
        for module in (checkpoint, output):
            patched.setattr(module, "staged_folder", full)
        try:
            with pytest.raises((CheckpointError, OutputError), match=r"cannot be written.*make room and add --resume"):
                train("parts", save_every=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not (tmp_path / "parts" / "adapter_model.safetensors").exists()
    rest = train("parts", save_every=2, resume=True)
    assert rest.losses == whole.losses[2 if at == "step-4" else 6 :]
    assert all(torch.equal(rest.weights[name], weight) for name, weight in whole.weights.items())


def test_a_run_whose_best_state_was_lost_still_ends(train: Train, with_valid: TrainingData) -> None:
    first = train(data=with_valid, keep_checkpoints=1, **WILD)
    best = first.result.published_step
    (first.output / "checkpoints" / f"step-{best}" / "adapter_model.safetensors").unlink()
    again = train(data=with_valid, keep_checkpoints=1, resume=True, **WILD)
    assert again.result.published_step == 10
    assert [event.code for event in again.events if isinstance(event, WarningEvent)] == ["best_lost"]


def test_a_device_that_fails_in_an_evaluation_is_named(
    train: Train, with_valid: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("training.loop.mean_loss", fail)
    with pytest.raises(DeviceError, match="out of memory; no checkpoint was written yet"):
        train(data=with_valid)
