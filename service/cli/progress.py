"""What a person sees of a training run: a bar on a terminal, a line now and then elsewhere."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from service.cli.console import duration, err, say, size_text
from service.preflight.events import AutoEvent, TimeEvent
from service.studies.study import PointEvent
from training.events import CheckpointEvent, EarlyStopEvent, EvalEvent, Event, StartEvent, StepEvent, WarningEvent

_LINES_PER_RUN = 10
"""How many step lines a run prints where there is no terminal."""
_WIDE_TERMINAL, _WIDE_BAR, _NARROW_BAR = 110, 40, 10
"""In 80 columns a longer bar would push the figures out, the memory first."""


class TrainingProgress:
    """Listens to a run's events and shows them on stderr."""

    def __init__(self) -> None:
        self._console = err()
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=_WIDE_BAR if self._console.width >= _WIDE_TERMINAL else _NARROW_BAR),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "TrainingProgress":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        match event:
            case StartEvent():
                self._start(event)
            case StepEvent():
                self._step(event)
            case PointEvent():
                self._drop_bar()
                self._print(f"run {event.number} of {event.total}: {event.label}")
            case _:
                self._remark(event)

    def _remark(self, event: Event) -> None:
        match event:
            case EvalEvent():
                which = "base, before training" if event.step == 0 else f"after step {event.step}"
                self._print(f"held-out loss {event.valid_loss:.4f} ({which})")
            case CheckpointEvent():
                self._print(f"checkpoint {event.path}")
            case AutoEvent():
                self._print(f"{event.setting.replace('_', ' ')} {event.value:g}: {event.reason}")
            case TimeEvent():
                self._print(
                    f"about {duration(event.seconds)} at {event.tokens_per_second:.0f} tok/s, until {event.ends_at}"
                )
            case EarlyStopEvent():
                self._print(
                    f"stopped after step {event.step}: {event.evaluations} evaluations without an improvement on "
                    f"{event.best_valid_loss:.4f} (step {event.best_step})"
                )
            case WarningEvent():
                self._print(f"warning: {event.message}")

    def _start(self, event: StartEvent) -> None:
        share = event.trainable_parameters / event.total_parameters
        self._print(
            f"training {event.trainable_parameters:,} of {event.total_parameters:,} parameters ({share:.2%}) on "
            f"{event.train_rows} rows, {event.train_tokens:,} tokens ({event.train_labelled_tokens:,} labelled); "
            f"{event.valid_rows} rows held out; {event.device} {event.dtype}, quantisation {event.quantization}"
        )
        if event.first_step:
            self._print(f"resuming after step {event.first_step}")
        self._drop_bar()
        self._task = self._bar.add_task("train", total=event.total_steps, completed=event.first_step, facts="")

    def _step(self, event: StepEvent) -> None:
        facts = (
            f"loss {event.loss:.4f}  {event.tokens_per_second:.0f} tok/s  "
            f"left {duration(event.eta_seconds)}  peak {size_text(event.peak_memory_bytes)}"
        )
        if self._console.is_terminal and self._task is not None:
            self._bar.update(self._task, completed=event.step, facts=facts)
        elif event.step % max(1, event.total_steps // _LINES_PER_RUN) == 0 or event.step == event.total_steps:
            say(f"step {event.step}/{event.total_steps}  {facts}")

    def _drop_bar(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None

    def _print(self, message: str) -> None:
        self._bar.console.print(message, markup=False)
