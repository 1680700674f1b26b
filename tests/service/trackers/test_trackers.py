"""One contract for every tracker, read back from where it really wrote."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.trackers.tracker import RunInfo, Tracker

Curve = dict[int, float]
SETTINGS = {"rank": 4, "learning_rate": 0.001, "target_modules": "all-linear"}


@dataclass(frozen=True)
class Recorded:
    """What a tracker kept of a run."""

    curves: Mapping[str, Curve]
    settings: Mapping[str, str]
    outcome: str
    result: Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """A tracker under test: how it is made, and how its record is read."""

    make: Callable[[], Tracker]
    read: Callable[[RunInfo], Recorded]


def read_jsonl(run: RunInfo) -> Recorded:
    lines = [json.loads(line) for line in (run.output / "metrics.jsonl").read_text().splitlines()]
    curves: dict[str, Curve] = {}
    for line in lines:
        for name in line.keys() - {"step"} if "step" in line else ():
            assert line["step"] not in curves.setdefault(name, {})
            curves[name][line["step"]] = line[name]
    settings = {name: str(value) for name, value in lines[0]["hyperparameters"].items()}
    outcome = next(line for line in reversed(lines) if "outcome" in line)
    return Recorded(curves, settings, outcome.pop("outcome"), outcome)


def read_tensorboard(run: RunInfo) -> Recorded:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # One file for each start; TensorBoard itself shows a folder's files as one run.
    curves: dict[str, Curve] = {}
    texts: dict[str, list[str]] = {}
    for file in sorted((run.output / "tensorboard").rglob("events.*"), key=lambda file: file.stat().st_mtime_ns):
        events = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        for name in events.Tags()["scalars"]:
            for item in events.Scalars(name):
                # It keeps float32.
                curves.setdefault(name, {})[item.step] = round(item.value, 7)
        for name in events.Tags()["tensors"]:
            tensors = [item.tensor_proto.string_val[0].decode() for item in events.Tensors(name)]
            texts.setdefault(name.removesuffix("/text_summary"), []).extend(tensors)
    lines = texts["hyperparameters"][0].splitlines()
    settings = dict(line.strip().split(": ") for line in lines)
    result = {name.removeprefix("result/"): curve[0] for name, curve in curves.items() if name.startswith("result/")}
    plain = {name: curve for name, curve in curves.items() if not name.startswith("result/")}
    return Recorded(plain, settings, texts["outcome"][-1], result)


def read_mlflow(uri: str, run: RunInfo) -> Recorded:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`lorad.run` = '{run.id}'")
    curves = {}
    for name in found.data.metrics:
        history = client.get_metric_history(found.info.run_id, name)
        curves[name] = {metric.step: metric.value for metric in history}
        assert len(history) == len(curves[name])
    result = {name.removeprefix("result/"): curve[0] for name, curve in curves.items() if name.startswith("result/")}
    plain = {name: curve for name, curve in curves.items() if not name.startswith("result/")}
    return Recorded(plain, found.data.params, found.data.tags["lorad.outcome"], result)


def read_trackio(run: RunInfo) -> Recorded:
    from trackio.sqlite_storage import SQLiteStorage

    name = f"{run.name}-{run.id[:8]}"
    curves: dict[str, Curve] = {}
    outcome, result = "", {}
    for row in SQLiteStorage.get_logs("tests", name):
        step = row.pop("step")
        row.pop("timestamp")
        if "outcome" in row:
            outcome = row.pop("outcome")
            result = {key.removeprefix("result/"): value for key, value in row.items()}
            continue
        for key, value in row.items():
            assert step not in curves.setdefault(key, {})
            curves[key][step] = value
    settings = {key: str(value) for key, value in SQLiteStorage.get_run_config("tests", name).items()}
    return Recorded(curves, settings, outcome, result)


@pytest.fixture(params=["jsonl", "tensorboard", "mlflow", "trackio"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    name = request.param
    if name != "jsonl" and importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if name == "jsonl":
        from service.trackers.jsonl import JsonLines

        return Subject(JsonLines, read_jsonl)
    if name == "tensorboard":
        from service.trackers.tensorboard import TensorBoard

        return Subject(TensorBoard, read_tensorboard)
    if name == "mlflow":
        from service.trackers.mlflow import MLflow

        uri = f"sqlite:///{tmp_path}/mlflow.db"
        return Subject(lambda: MLflow(uri, "tests"), lambda run: read_mlflow(uri, run))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from service.trackers.trackio import Trackio

    return Subject(lambda: Trackio("tests", None), read_trackio)


def told(output: Path, *, resumed: bool) -> RunInfo:
    return RunInfo(
        id="0123456789abcdef" + output.parent.name[-16:].replace("-", ""),
        name="support",
        output=output,
        hyperparameters=SETTINGS,
        resumed=resumed,
    )


@pytest.mark.filterwarnings("ignore")  # MLflow and trackio use what newer libraries deprecate.
def test_a_stopped_and_resumed_run_is_one_record_with_every_figure_once(
    subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = subject.make()
    first.start(told(tmp_path / "out", resumed=False))
    first.log(1, {"loss": 2.0, "learning_rate": 0.001})
    first.log(2, {"loss": 1.5, "learning_rate": 0.002})
    first.log(2, {"valid_loss": 1.75})
    first.end("stopped", {})
    second = subject.make()
    second.start(told(tmp_path / "out", resumed=True))
    second.log(3, {"loss": 1.25, "learning_rate": 0.001})
    second.end("finished", {"valid_loss": 1.5, "trained_tokens": 900.0})
    found = subject.read(told(tmp_path / "out", resumed=True))
    assert found.curves["loss"] == {1: 2.0, 2: 1.5, 3: 1.25}
    assert found.curves["learning_rate"] == {1: 0.001, 2: 0.002, 3: 0.001}
    assert found.curves["valid_loss"] == {2: 1.75}
    assert {name: found.settings[name] for name in SETTINGS} == {name: str(value) for name, value in SETTINGS.items()}
    assert found.outcome == "finished"
    assert found.result["valid_loss"] == 1.5
    assert found.result["trained_tokens"] == 900
    # stdout is for data.
    assert capsys.readouterr().out == ""


def test_a_line_that_a_kill_has_torn_is_dropped(tmp_path: Path) -> None:
    from service.trackers.jsonl import JsonLines, read_metrics

    tracker: Any = JsonLines()
    tracker.start(told(tmp_path, resumed=False))
    tracker.log(1, {"loss": 2.0, "grad_norm": float("nan")})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    resumed = JsonLines()
    resumed.start(told(tmp_path, resumed=True))
    resumed.log(2, {"loss": 1.5})
    assert list(read_metrics(tmp_path))[1:] == [
        {"step": 1, "loss": 2.0, "grad_norm": None},
        {"step": 2, "loss": 1.5},
    ]
