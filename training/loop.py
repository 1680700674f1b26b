"""The training loop: LoRA parameters over one frozen base, from token rows to an adapter on disk."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from adapters.config import LoraConfig
from base.loader import LoadedBase
from base.shapes import module_shapes
from training.artifacts.checkpoint import Checkpoints, Progress
from training.artifacts.weights import read_layers, write_layers
from training.config import TrainingConfig
from training.control.best import Best, judged
from training.control.watch import Watch
from training.errors import CheckpointError, ConfigError, DeviceError, Stopped
from training.events import CheckpointEvent, EarlyStopEvent, EvalEvent, Listener, WarningEvent
from training.layers.lora import LoraLinear, target_names
from training.layers.network import Network
from training.memory import peak_memory_bytes
from training.objectives.creation import create_objective
from training.objectives.objective import Objective, mean_loss
from training.optimization.learning_rate import learning_rate_factor
from training.optimization.optimizer import create_optimizer, optimizer_tensors, restore_optimizer
from training.optimization.step import accumulate, update
from training.precision import refuse_dtype
from training.reporting import start_event, step_event
from training.rows.batches import Batch, make_batch
from training.rows.examples import Prepared
from training.rows.order import Schedule, passes
from training.run import TrainingData, TrainingResult, adapter_config, fingerprint

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
        objective: what is minimised; by default what `config.method` says.
        initial: an adapter's folder in PEFT's format whose weights a new run begins with.
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
        objective: Objective | None = None,
        initial: Path | None = None,
    ) -> None:
        self._base = base
        self._config = config
        self._data = data
        self._output = output
        self._listen = listen
        self._should_stop = should_stop
        self._initial = initial
        self._objective = objective or create_objective(config)
        self._schedule = Schedule(
            parts=data.train.parts,
            lengths=data.train.lengths if config.length_buckets else None,
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
        self._watch = self._new_watch()
        self._valid_loss: float | None = None
        self._valid_figures: Mapping[str, float] = {}

    def run(self, finish: Finish, *, resume: bool) -> TrainingResult:
        """Trains to the end, or on from the newest checkpoint when `resume`, and hands the layers to `finish`.

        Raises:
            Stopped: `should_stop` said so; a checkpoint of the last step is on disk.
            DeviceError: the device ran out of memory or failed; it names the newest checkpoint.
            OutputError: the adapter could not be written.
            DivergedError: the loss or the gradients are no longer finite, or the loss stays above where it began.
            ConfigError: early stopping is asked for without held-out rows.
            CheckpointError: the checkpoint to resume is damaged or another run's.
        """
        refuse_dtype(self._base)
        if self._config.early_stopping_patience is not None and self._data.valid is None:
            raise ConfigError(
                "early-stopping-patience needs held-out rows: give --validation FILE or --validation-fraction"
            )
        shapes = module_shapes(self._base.model)
        # Counted before the adapter's own parameters join the model's.
        base_parameters = self._base.num_parameters
        self._network = Network(self._base.model, self._config)
        try:
            self._adapter = adapter_config(self._config, self._base.name, target_names(shapes, self._network.layers))
            self._optimizer = create_optimizer(self._network.parameters(), self._config, self._base.device)
            if self._initial is not None:
                read_layers(self._initial, self._network.layers)
            if resume:
                self._resume()
            self._listen(
                start_event(
                    self._base, self._network, self._data, self._schedule,
                    first_step=self._progress.step, base_parameters=base_parameters,
                )
            )  # fmt: skip
            self._measure_base()
            while not self._over:
                self._step()
                self._after_step()
            result = self._result(self._take_best())
            finish(self._network.layers, self._adapter, result)
            return result
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise DeviceError(self._progress.step + 1, error, self._checkpoints.describe_newest()) from error
        finally:
            self._network.close()

    def _step(self) -> None:
        started = time.perf_counter()
        number = self._progress.step
        batches = self._batches(self._data.train, self._schedule.step_rows(number))
        self._base.model.train()
        outcome = accumulate(self._network, self._objective, batches, self._config.max_grad_norm)
        self._watch.refuse_divergence(number + 1, outcome, batches)
        factor = learning_rate_factor(number, self._schedule.total_steps, self._config.warmup_ratio)
        update(self._optimizer, self._config.learning_rate * factor)
        self._progress = replace(
            self._progress,
            step=number + 1,
            trained_tokens=self._progress.trained_tokens + sum(batch.num_tokens for batch in batches),
            seconds=self._progress.seconds + time.perf_counter() - started,
            train_loss=outcome.total / outcome.count,
        )
        rate = float(self._optimizer.param_groups[0]["lr"])
        self._listen(step_event(self._base, self._progress, outcome, self._schedule, rate))
        self._watch.hear(self._progress, outcome, batches)
        self._progress = replace(self._progress, start_loss=self._watch.start_loss)

    @property
    def _over(self) -> bool:
        """Whether no step is left, or the held-out loss has not improved for too long."""
        if self._progress.step >= self._schedule.total_steps:
            return True
        patience, best = self._config.early_stopping_patience, self._progress.best
        return patience is not None and best is not None and best.stale >= patience

    def _after_step(self) -> None:
        step, last = self._progress.step, self._schedule.total_steps
        if step == last or step % (self._config.eval_every or self._schedule.steps_per_epoch) == 0:
            self._evaluate()
        over, best = self._over, self._progress.best
        stopping = self._should_stop() and not over
        # The best is kept at once: by the next checkpoint it would be gone.
        due = over or stopping or (self._config.load_best_model_at_end and best is not None and best.step == step)
        if due or step % (self._config.save_every or self._schedule.steps_per_epoch) == 0:
            folder = self._save()
            if stopping:
                raise Stopped(step, folder)
        if over and step < last and best is not None:
            self._listen(
                EarlyStopEvent(step=step, evaluations=best.stale, best_step=best.step, best_valid_loss=best.valid_loss)
            )

    def _batches(self, data: Prepared, rows: Sequence[int]) -> list[Batch]:
        divided = passes(data.examples, rows, self._config, data.rejected)
        layout, device = self._config.layout, self._base.device
        return [make_batch(data.examples, part, layout, device, data.rejected) for part in divided]

    def _evaluate(self) -> None:
        step, loss = self._progress.step, self._held_out_loss()
        self._valid_loss = loss
        if loss is not None:
            figures, min_delta = dict(self._valid_figures), self._config.early_stopping_min_delta
            best = judged(self._progress.best, step, loss, figures, min_delta)
            self._progress = replace(self._progress, best=best)
            self._listen(EvalEvent(step=step, valid_loss=loss, figures=figures))

    def _measure_base(self) -> None:
        if self._progress.base_valid_loss is not None:
            return
        with self._network.adapters_off():
            loss = self._held_out_loss()
        if loss is not None:
            self._progress = replace(self._progress, base_valid_loss=loss)
            self._listen(EvalEvent(step=0, valid_loss=loss, figures=dict(self._valid_figures)))

    def _held_out_loss(self) -> float | None:
        if self._data.valid is None:
            return None
        self._base.model.eval()
        batches = self._batches(self._data.valid, range(len(self._data.valid.examples)))
        loss = mean_loss(self._objective, self._network, batches)
        self._valid_figures = self._objective.take_figures()
        return loss

    def _save(self) -> Path:
        state = optimizer_tensors(self._optimizer, self._network.parameters())
        folder = self._checkpoints.save(
            lambda folder: write_layers(folder, self._network.layers, self._adapter), state, self._progress
        )
        self._listen(CheckpointEvent(step=self._progress.step, path=str(folder)))
        return folder

    def _resume(self) -> None:
        checkpoint = self._checkpoints.resume()
        if checkpoint is None:
            return
        read_layers(checkpoint.folder, self._network.layers)
        restore_optimizer(self._optimizer, self._network.parameters(), checkpoint.optimizer)
        self._progress = self._with_best_at_hand(checkpoint.progress)
        self._watch = self._new_watch(self._progress.start_loss)
        if self._over:
            self._valid_loss = self._held_out_loss()

    def _with_best_at_hand(self, progress: Progress) -> Progress:
        """Without the best state, if its checkpoint is gone or damaged: there is still the run."""
        if progress.best is None or not self._config.load_best_model_at_end:
            return progress
        try:
            self._checkpoints.folder(progress.best.step)
        except CheckpointError as error:
            message = f"the best state so far is lost, and the best from now on will be published: {error}"
            self._listen(WarningEvent(code="best_lost", message=message))
            return replace(progress, best=None)
        return progress

    def _take_best(self) -> Best | None:
        """Gives the layers the best weights, if they are to be published; None where the last ones are."""
        best = self._progress.best if self._config.load_best_model_at_end else None
        if best is None or best.step == self._progress.step:
            return None
        read_layers(self._checkpoints.folder(best.step), self._network.layers)
        return best

    def _new_watch(self, start_loss: float | None = None) -> Watch:
        return Watch(self._config, self._data.train, self._checkpoints, self._listen, start_loss)

    def _result(self, best: Best | None) -> TrainingResult:
        return TrainingResult(
            output=self._output,
            steps=self._progress.step,
            published_step=self._progress.step if best is None else best.step,
            train_loss=self._progress.train_loss,
            valid_loss=self._valid_loss if best is None else best.valid_loss,
            last_valid_loss=self._valid_loss,
            base_valid_loss=self._progress.base_valid_loss,
            valid_figures=self._valid_figures if best is None else best.figures,
            trained_tokens=self._progress.trained_tokens,
            tokens_per_second=self._progress.tokens_per_second,
            seconds=self._progress.seconds,
            peak_memory_bytes=peak_memory_bytes(self._base.device),
        )
