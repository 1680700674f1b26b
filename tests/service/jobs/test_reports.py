import json
from typing import Any

import pytest

from service.jobs.reports import TrainerReport


def heard(*events: dict[str, Any], **fields: Any) -> TrainerReport:
    report = TrainerReport(**fields)
    for event in events:
        report.hear(json.dumps(event))
    return report


STEP = {
    "event": "step", "step": 3, "total_steps": 9, "loss": 1.5, "learning_rate": 1e-3, "grad_norm": 0.2,
    "tokens_per_second": 10.0, "eta_seconds": 6.0, "figures": {"rewards/margins": 0.5},
}  # fmt: skip


def test_steps_become_metrics_by_openais_names() -> None:
    report = heard(STEP, {"event": "eval", "step": 3, "valid_loss": 2.0, "figures": {}})
    assert (report.step, report.total_steps, report.eta_seconds) == (3, 9, 6.0)
    first, second = report.events
    assert (first.type, first.message) == ("metrics", "Step 3/9: training loss=1.5000")
    assert first.data is not None
    assert first.data["train_loss"] == 1.5
    assert first.data["rewards/margins"] == 0.5
    assert second.data == {"step": 3, "valid_loss": 2.0, "full_valid_loss": 2.0}
    assert report.metrics == {"step": 3, "train_loss": 1.5, "valid_loss": 2.0, "full_valid_loss": 2.0}


def test_a_loss_that_is_no_number_is_said_to_be_none() -> None:
    report = heard({**STEP, "loss": None})
    assert report.events[0].message.endswith("not a number")


@pytest.mark.parametrize(
    ("kinds", "message", "code", "param"),
    [
        (["PreflightError", "ServiceError"], "no rows", "invalid_training_file", "training_file"),
        (["BadRowsError", "CorpusError"], "row 3", "invalid_training_file", "training_file"),
        (["ConfigError", "TrainingError"], "rank", "invalid_hyperparameters", "lora"),
        (["DivergedError", "TrainingError"], "NaN", "diverged", None),
        (["CheckpointError", "TrainingError"], "x: [Errno 28] No space left on device", "disk_full", None),
        (["ZeroDivisionError"], "oops", "training_failed", None),
    ],
)
def test_errors_get_a_code_from_what_they_are(kinds: list[str], message: str, code: str, param: str | None) -> None:
    error = heard({"event": "error", "kinds": kinds, "message": message}).error
    assert error is not None
    assert (error.code, error.message, error.param) == (code, message, param)


def test_of_a_long_message_the_first_lines_are_kept() -> None:
    error = heard({"event": "error", "kinds": [], "message": "\n".join(map(str, range(50)))}).error
    assert error is not None
    assert error.message.splitlines()[-2:] == ["11", "…"]


def test_no_path_of_this_machine_is_told() -> None:
    warning = {"event": "warning", "code": "x", "message": "/home/cache/file-1.jsonl:3 is long"}
    report = heard(warning, names={"/home/cache/file-1.jsonl": "file-1"})
    assert report.events[0].message == "file-1:3 is long"


@pytest.mark.parametrize("line", ["", "Traceback", "[1]", "[" * 100_000, '{"event": "unknown"}', '{"step": 1}', "null"])
def test_what_is_no_event_is_passed_over(line: str) -> None:
    report = TrainerReport()
    report.hear(line)
    assert report == TrainerReport()


def test_what_no_database_takes_is_left_out() -> None:
    report = TrainerReport(names={"/home/jürgen/rows": "file-1"})
    message = "/home/jürgen/rows: a\0b\ud800" + "x" * 10_000
    report.hear(json.dumps({"event": "warning", "code": "c", "message": message}))
    report.hear(json.dumps({**STEP, "loss": float("nan"), "grad_norm": float("inf")}))
    warning, step = report.events
    assert warning.message.startswith("file-1: ab?xx")
    assert len(warning.message) < 5000
    assert step.data is not None
    assert (step.data["train_loss"], step.data["grad_norm"]) == (None, None)
