from pathlib import Path
from typing import Any

import pytest

from service.trackers.jsonl import JsonLines, read_metrics
from service.trackers.tracked_run import TrackedRun
from service.trackers.tracker import Metrics, Outcome, RunInfo, Tracker
from training.events import EvalEvent, Event, StartEvent, StepEvent, WarningEvent


class Recorder:
    """Remembers what it was told; fails where it is asked to."""

    def __init__(self, failing: str = "") -> None:
        self.told: list[Any] = []
        self._failing = failing

    def start(self, run: RunInfo) -> None:
        self._tell("start", run.resumed)

    def log(self, step: int, metrics: Metrics) -> None:
        self._tell("log", step, dict(metrics))

    def end(self, outcome: Outcome, summary: Metrics) -> None:
        self._tell("end", outcome, dict(summary))

    def _tell(self, name: str, *values: object) -> None:
        if name == self._failing:
            raise ConnectionError("the server is away")
        self.told.append((name, *values))


def start(first_step: int = 0) -> StartEvent:
    return StartEvent(
        first_step=first_step, total_steps=9, trainable_parameters=1, total_parameters=2, train_rows=3, train_tokens=4,
        train_labelled_tokens=3, valid_rows=1, truncated_rows=0, device="cpu", dtype="float32", quantization="none",
    )  # fmt: skip


def step(number: int) -> StepEvent:
    return StepEvent(
        step=number, total_steps=9, epoch=0.5, loss=1 / number, learning_rate=0.1, grad_norm=1.0,
        tokens_per_second=50.0, eta_seconds=1.0, peak_memory_bytes=7,
    )  # fmt: skip


def tracked(output: Path, *trackers: Tracker, heard: list[Event] | None = None) -> TrackedRun:
    listen = (heard if heard is not None else []).append
    return TrackedRun(trackers, "support", output, {"rank": 4}, listen)


def test_figures_go_to_every_tracker_and_forecasts_to_none(tmp_path: Path) -> None:
    recorder = Recorder()
    run = tracked(tmp_path, recorder, JsonLines())
    for event in (start(), step(1), EvalEvent(step=1, valid_loss=2.5)):
        run(event)
    run.end("finished", {"train_loss": 1.0})
    names = {"epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", "peak_memory_bytes"}
    assert recorder.told[0] == ("start", False)
    assert set(recorder.told[1][2]) == names
    assert recorder.told[2] == ("log", 1, {"valid_loss": 2.5})
    assert recorder.told[3] == ("end", "finished", {"train_loss": 1.0})
    assert [line.get("loss") for line in read_metrics(tmp_path)] == [None, 1.0, None, None]


def test_a_resumed_run_repeats_no_figure_that_was_logged_after_its_checkpoint(tmp_path: Path) -> None:
    killed = tracked(tmp_path, JsonLines())
    for event in (start(), step(1), step(2), step(3)):
        killed(event)
    recorder = Recorder()
    resumed = tracked(tmp_path, recorder, JsonLines())
    for event in (start(first_step=1), step(2), step(3), step(4)):
        resumed(event)
    resumed.end("finished", {})
    assert [call[1] for call in recorder.told if call[0] == "log"] == [4]
    assert recorder.told[0] == ("start", True)
    assert [line["step"] for line in read_metrics(tmp_path) if "step" in line] == [1, 2, 3, 4]
    assert len({line["run"] for line in read_metrics(tmp_path) if "run" in line}) == 1


def test_a_run_that_starts_anew_has_a_record_of_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        run = tracked(tmp_path, JsonLines())
        run(start())
        run(step(1))
    assert [line["step"] for line in read_metrics(tmp_path) if "step" in line] == [1]


@pytest.mark.parametrize("failing", ["start", "log", "end"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(tmp_path: Path, failing: str) -> None:
    heard: list[Event] = []
    broken, sound = Recorder(failing), Recorder()
    run = tracked(tmp_path, broken, sound, heard=heard)
    for event in (start(), step(1), step(2)):
        run(event)
    run.end("finished", {})
    assert [call[0] for call in sound.told] == ["start", "log", "log", "end"]
    (warning,) = heard
    assert isinstance(warning, WarningEvent)
    assert "the server is away" in warning.message


def test_a_run_that_never_began_leaves_no_record(tmp_path: Path) -> None:
    recorder = Recorder()
    tracked(tmp_path, recorder, JsonLines()).end("failed", {})
    assert recorder.told == []
    assert not list(tmp_path.iterdir())
