"""The training loop: LoRA parameters over one frozen base, from token rows to an adapter on disk."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from adapters.config import LoraConfig
from base.loader import LoadedBase
from base.shapes import module_shapes
from training.batches import Batch, Schedule, in_length_order, make_batch
from training.checkpoint import Checkpoints, Progress
from training.config import TrainingConfig
from training.errors import DivergedError, Stopped
from training.events import CheckpointEvent, EvalEvent, Listener, StartEvent, StepEvent
from training.lora import LoraLinear, adapters_off, inject, remove, target_names
from training.loss import labelled_nll, mean_nll
from training.memory import peak_memory_bytes
from training.optimizer import create_optimizer, optimizer_tensors, restore_optimizer
from training.run import TrainingData, TrainingResult, adapter_config, fingerprint
from training.schedule import learning_rate_factor
from training.weights import read_layers, write_layers

Finish = Callable[[dict[str, LoraLinear], LoraConfig, TrainingResult], None]
"""Writes the adapter while its layers are still in the model."""


class Trainer:
    """One run. The base's model is wrapped while `run` lasts and given back as it was.

    Args:
        base: where the adapter grows.
        config: how.
        data: from what.
        output: checkpoints go to `output/checkpoints`.
        listen: receives events as they happen.
        should_stop: asked after every step; when true the run checkpoints and raises `Stopped`.
    """

    def __init__(
        self,
        base: LoadedBase,
        config: TrainingConfig,
        data: TrainingData,
        output: Path,
        *,
        listen: Listener,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._base = base
        self._config = config
        self._data = data
        self._output = output
        self._listen = listen
        self._should_stop = should_stop
        self._schedule = Schedule(
            num_rows=len(data.train.examples),
            batch_size=config.batch_size,
            accumulation=config.gradient_accumulation,
            epochs=config.epochs,
            max_steps=config.max_steps,
            seed=config.seed,
        )
        self._checkpoints = Checkpoints(
            output / "checkpoints", fingerprint(base, config, data), config.keep_checkpoints
        )
        self._progress = Progress(step=0, trained_tokens=0, seconds=0.0, base_valid_loss=None, train_loss=math.nan)
        self._valid_loss: float | None = None
        self._layers: dict[str, LoraLinear] = {}

    def run(self, finish: Finish, *, resume: bool) -> TrainingResult:
        """Trains to the end, or on from the newest checkpoint when `resume`, and hands the layers to `finish`.

        Raises:
            Stopped: `should_stop` said so; a checkpoint of the last step is on disk.
            DivergedError: the loss or the gradients are no longer finite.
            CheckpointError: the checkpoint to resume is damaged or another run's.
        """
        model: nn.Module = self._base.model
        shapes = module_shapes(model)
        # Counted before the adapter's own parameters join the model's.
        total_parameters = self._base.num_parameters
        self._layers = inject(model, self._config)
        try:
            self._adapter = adapter_config(self._config, self._base.name, target_names(shapes, self._layers))
            self._optimizer = create_optimizer(self._parameters(), self._config)
            if resume:
                self._resume()
            self._announce(total_parameters)
            self._measure_base()
            while self._progress.step < self._schedule.total_steps:
                self._step()
                self._after_step()
            result = self._result()
            finish(self._layers, self._adapter, result)
            return result
        finally:
            remove(model, self._layers)
            model.eval()

    def _step(self) -> None:
        started = time.perf_counter()
        number = self._progress.step
        batches = [self._batch(rows) for rows in self._schedule.step_rows(number)]
        num_labelled = sum(batch.num_labelled for batch in batches)
        factor = learning_rate_factor(number, self._schedule.total_steps, self._config.warmup_ratio)
        self._set_learning_rate(self._config.learning_rate * factor)

        self._base.model.train()
        self._optimizer.zero_grad(set_to_none=True)
        total_nll = 0.0
        for batch in batches:
            nll = labelled_nll(self._base.model, batch)
            # Divided by the labels of the whole step, so that accumulation weighs every token alike.
            (nll / num_labelled).backward()
            total_nll += nll.item()
        grad_norm = float(nn.utils.clip_grad_norm_(self._parameters().values(), self._config.max_grad_norm))
        self._refuse_divergence(total_nll, grad_norm, batches)
        self._optimizer.step()

        self._progress = replace(
            self._progress,
            step=number + 1,
            trained_tokens=self._progress.trained_tokens + sum(batch.num_tokens for batch in batches),
            seconds=self._progress.seconds + time.perf_counter() - started,
            train_loss=total_nll / num_labelled,
        )
        self._report_step(grad_norm)

    def _after_step(self) -> None:
        step, last = self._progress.step, self._schedule.total_steps
        if step == last or step % (self._config.eval_every or self._schedule.steps_per_epoch) == 0:
            self._evaluate()
        stopping = self._should_stop() and step < last
        if step == last or stopping or step % (self._config.save_every or self._schedule.steps_per_epoch) == 0:
            folder = self._save()
            if stopping:
                raise Stopped(step, folder)

    def _batch(self, rows: list[int]) -> Batch:
        return make_batch(self._data.train.examples, rows, self._config.layout, self._base.device)

    def _evaluate(self) -> None:
        self._valid_loss = self._held_out_loss()
        if self._valid_loss is not None:
            self._listen(EvalEvent(step=self._progress.step, valid_loss=self._valid_loss))

    def _measure_base(self) -> None:
        if self._progress.base_valid_loss is not None:
            return
        with adapters_off(self._layers):
            loss = self._held_out_loss()
        if loss is not None:
            self._progress = replace(self._progress, base_valid_loss=loss)
            self._listen(EvalEvent(step=0, valid_loss=loss))

    def _held_out_loss(self) -> float | None:
        if self._data.valid is None:
            return None
        examples = self._data.valid.examples
        self._base.model.eval()
        return mean_nll(
            self._base.model,
            (
                make_batch(examples, rows, self._config.layout, self._base.device)
                for rows in in_length_order(examples, self._config.batch_size)
            ),
        )

    def _save(self) -> Path:
        with tempfile.TemporaryDirectory() as scratch:
            write_layers(Path(scratch), self._layers, self._adapter)
            state = optimizer_tensors(self._optimizer, self._parameters())
            folder = self._checkpoints.save(Path(scratch), state, self._progress)
        self._listen(CheckpointEvent(step=self._progress.step, path=str(folder)))
        return folder

    def _resume(self) -> None:
        checkpoint = self._checkpoints.resume()
        if checkpoint is None:
            return
        read_layers(checkpoint.folder, self._layers)
        restore_optimizer(self._optimizer, self._parameters(), checkpoint.optimizer)
        self._progress = checkpoint.progress
        if self._progress.step >= self._schedule.total_steps:
            self._evaluate()

    def _refuse_divergence(self, nll: float, grad_norm: float, batches: list[Batch]) -> None:
        if math.isfinite(nll) and math.isfinite(grad_norm):
            return
        rows = sorted(row + 1 for batch in batches for row in batch.rows)
        raise DivergedError(
            f"step {self._progress.step + 1}: loss {nll} and gradient norm {grad_norm} on training rows {rows}; "
            f"lower --learning-rate (now {self._config.learning_rate}) or look at these rows; "
            "the last checkpoint is intact"
        )

    def _result(self) -> TrainingResult:
        return TrainingResult(
            output=self._output,
            steps=self._progress.step,
            train_loss=self._progress.train_loss,
            valid_loss=self._valid_loss,
            base_valid_loss=self._progress.base_valid_loss,
            trained_tokens=self._progress.trained_tokens,
            tokens_per_second=self._tokens_per_second(),
            seconds=self._progress.seconds,
            peak_memory_bytes=peak_memory_bytes(self._base.device),
        )

    def _announce(self, total_parameters: int) -> None:
        train, valid = self._data.train, self._data.valid
        self._listen(
            StartEvent(
                total_steps=self._schedule.total_steps,
                first_step=self._progress.step,
                trainable_parameters=sum(parameter.numel() for parameter in self._parameters().values()),
                total_parameters=total_parameters,
                train_rows=len(train.examples),
                train_tokens=train.num_tokens,
                train_labelled_tokens=train.num_labelled,
                valid_rows=len(valid.examples) if valid else 0,
                truncated_rows=train.num_truncated,
                device=str(self._base.device),
                dtype=str(self._base.dtype).removeprefix("torch."),
                quantization=self._base.quantization,
            )
        )

    def _report_step(self, grad_norm: float) -> None:
        step, last = self._progress.step, self._schedule.total_steps
        self._listen(
            StepEvent(
                step=step,
                total_steps=last,
                epoch=step / self._schedule.steps_per_epoch,
                loss=self._progress.train_loss,
                learning_rate=float(self._optimizer.param_groups[0]["lr"]),
                grad_norm=grad_norm,
                tokens_per_second=self._tokens_per_second(),
                eta_seconds=self._progress.seconds / step * (last - step),
                peak_memory_bytes=peak_memory_bytes(self._base.device),
            )
        )

    def _tokens_per_second(self) -> float:
        return self._progress.trained_tokens / self._progress.seconds if self._progress.seconds else 0.0

    def _set_learning_rate(self, learning_rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {
            f"{module}.{name}": parameter
            for module, layer in self._layers.items()
            for name, parameter in layer.named_parameters(recurse=False)
        }
