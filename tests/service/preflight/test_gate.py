import json
from pathlib import Path
from typing import Any

import pytest

from base.source import BaseSource
from service.errors import PreflightError
from service.preflight.auto import AutoChoice
from service.preflight.decision import keep_choices
from service.preflight.events import AutoEvent
from service.preflight.gate import pass_gate
from service.training.rows import read_rows
from service.training.spec import TrainingSpec
from training.config import AskedConfig, TrainingConfig
from training.events import Event, WarningEvent

ROWS = [{"question": f"what is ticket {n} about", "answer": f"about refund {n} of {n * 7}"} for n in range(20)]
BAD = [{"question": "and?", "answer": ""}, {"question": "then?", "answer": "[INST] this"}]


def spec(folder: Path, rows: list[dict[str, str]], **settings: Any) -> TrainingSpec:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return TrainingSpec(data=file, output=folder / "out", device="cpu", **settings)


def test_warnings_become_events_and_the_figures_a_remark(tmp_path: Path, source: BaseSource) -> None:
    heard: list[Event] = []
    said: list[str] = []
    run = spec(tmp_path, [*ROWS, ROWS[3]])
    rows, encoder, decision = pass_gate(run, source, read_rows(run), heard.append, said.append)
    assert len(rows.train) == 21
    warnings = {event.code: event.message for event in heard if isinstance(event, WarningEvent)}
    assert warnings["duplicate_rows"].startswith(
        f"rows that repeat an earlier one: 1 ({tmp_path}/rows.jsonl line 21); "
    )
    assert said[0].startswith("21 rows, ")
    assert encoder(rows.train[0]) is encoder(rows.train[0])
    assert decision.config == TrainingConfig()
    assert decision.taken == ()


def test_a_bad_row_ends_the_run_and_all_of_them_are_named(tmp_path: Path, source: BaseSource) -> None:
    run = spec(tmp_path, [*ROWS, *BAD])
    with pytest.raises(PreflightError) as caught:
        pass_gate(run, source, read_rows(run), lambda _event: None, lambda _remark: None)
    assert "rows.jsonl:21: " in str(caught.value)
    assert "rows.jsonl:22: " in str(caught.value)


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_bad_rows_are_left_out_of_both_sides_when_asked(
    tmp_path: Path, source: BaseSource, fraction: float | None
) -> None:
    heard: list[Event] = []
    run = spec(tmp_path, [*ROWS, *BAD], skip_bad=True, validation_fraction=fraction)
    rows, _, _ = pass_gate(run, source, read_rows(run), heard.append, lambda _remark: None)
    kept = sorted(record.line for record in (*rows.train, *rows.valid))
    assert kept == list(range(1, 21))
    assert {"bad_rows", "control_tokens"} <= {event.code for event in heard if isinstance(event, WarningEvent)}


def test_what_was_left_open_is_chosen_and_told(tmp_path: Path, source: BaseSource) -> None:
    heard: list[Event] = []
    run = spec(tmp_path, ROWS * 5, config=AskedConfig(learning_rate="auto", batch_size="auto"))
    _, _, decision = pass_gate(run, source, read_rows(run), heard.append, lambda _remark: None)
    told = {event.setting: event for event in heard if isinstance(event, AutoEvent)}
    assert told["batch_size"].value == decision.config.batch_size == 2
    assert told["learning_rate"].value == decision.config.learning_rate != AskedConfig().learning_rate
    assert "too few steps" in told["batch_size"].reason


def test_a_resumed_run_takes_what_was_chosen_when_it_began(tmp_path: Path, source: BaseSource) -> None:
    earlier = AutoChoice(name="batch_size", value=7, reason="there was more room then")
    keep_choices(tmp_path / "out", (earlier,))
    for resume, size in ((True, 7), (False, 1)):
        run = spec(tmp_path, ROWS, config=AskedConfig(batch_size="auto"), resume=resume)
        _, _, decision = pass_gate(run, source, read_rows(run), lambda _event: None, lambda _remark: None)
        assert decision.config.batch_size == size
