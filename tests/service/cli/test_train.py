import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""

QUICK = ("--epochs", "2", "--batch-size", "8", "--rank", "2", "--learning-rate", "0.01")


def test_a_run_writes_the_adapter_publishes_it_and_ends_with_the_result(run: Run, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    outcome = run(
        "train", "--data", rows, "--validation-fraction", "0.2", "--output", output, "--name", "support", "--json",
        *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert [event["event"] for event in events][:2] == ["start", "eval"]
    result = events[-1]
    assert result["event"] == "result"
    assert result["valid_loss"] < result["base_valid_loss"]
    assert result["version"] == "support:1"
    assert result["digest"].startswith("sha256:")
    assert {"tokens_per_second", "train_loss", "trained_tokens", "peak_memory_bytes"} <= set(result)
    assert {path.name for path in output.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "lorad.json", "metrics.jsonl", "checkpoints",
    }  # fmt: skip
    listed = json.loads(run("adapters", "list", "--json").out)
    assert [(row["name"], row["latest"]["digest"]) for row in listed] == [("support", result["digest"])]


def test_the_same_run_gives_the_same_version(run: Run, rows: Path, tmp_path: Path) -> None:
    for _ in range(2):
        flags = ("--data", rows, "--output", tmp_path / "out", "--name", "support", "--overwrite", *QUICK)
        assert run("train", *flags).code == 0
    assert len(json.loads(run("adapters", "show", "support", "--json").out)) == 1


def test_an_earlier_run_is_not_overwritten_unasked(run: Run, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("train", "--data", rows, "--output", output, *QUICK).code == 0
    before = (output / "lorad.json").read_bytes()
    outcome = run("train", "--data", rows, "--output", output, *QUICK)
    assert outcome.code == 1
    assert "--resume" in outcome.err
    assert "--overwrite" in outcome.err
    assert (output / "lorad.json").read_bytes() == before


def test_a_refused_file_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"question": "What?", "answer": ""}\n', encoding="utf-8")
    outcome = run("train", "--data", file, "--output", tmp_path / "out")
    assert outcome.code == 1
    assert f"{file}:1" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_bad_name_is_refused_before_training(run: Run, rows: Path, tmp_path: Path) -> None:
    outcome = run("train", "--data", rows, "--output", tmp_path / "out", "--name", "No Spaces")
    assert outcome.code == 1
    assert "'No Spaces'" in outcome.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "value"), [("--rank", "0"), ("--learning-rate", "nan"), ("--epochs", "-1"), ("--max-length", "2")]
)
def test_a_flag_out_of_range_is_a_usage_error(run: Run, rows: Path, tmp_path: Path, flag: str, value: str) -> None:
    outcome = run("train", "--data", rows, "--output", tmp_path / "out", flag, value)
    assert outcome.code == 2
    assert flag in outcome.err


def test_an_unknown_target_names_the_modules(run: Run, rows: Path, tmp_path: Path) -> None:
    outcome = run("train", "--data", rows, "--output", tmp_path / "out", "--target-modules", "q_prj")
    assert outcome.code == 1
    assert "q_proj" in outcome.err


def test_a_spec_file_runs_and_unknown_keys_are_refused(
    run: Run, rows: Path, tmp_path: Path, tiny_base_folder: Path
) -> None:
    spec = {
        "data": str(rows),
        "output": str(tmp_path / "out"),
        "base_model": str(tiny_base_folder),
        "config": {"rank": 2},
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(spec), encoding="utf-8")
    assert run("train", "--spec", file).code == 0
    file.write_text(json.dumps({**spec, "ranks": 3}), encoding="utf-8")
    outcome = run("train", "--spec", file)
    assert outcome.code == 1
    assert "ranks" in outcome.err


def test_an_overwrite_that_is_refused_leaves_the_earlier_run(run: Run, rows: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("train", "--data", rows, "--output", output, *QUICK).code == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    for flags in (
        ("--target-modules", "q_prj"),
        ("--resume",),
        ("--early-stopping-patience", "2"),
        ("--optimizer", "paged_adamw_8bit"),
    ):
        assert run("train", "--data", rows, "--output", output, "--overwrite", *flags, *QUICK).code != 0
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("name", "rank"), [("tiny", "2"), ("base", "2"), ("support", "300")])
def test_what_could_not_be_published_is_not_trained(run: Run, rows: Path, tmp_path: Path, name: str, rank: str) -> None:
    outcome = run("train", "--data", rows, "--output", tmp_path / "out", "--name", name, "--rank", rank)
    assert outcome.code == 1
    assert not (tmp_path / "out").exists()


def test_rows_longer_than_the_context_are_cut_there_and_counted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps({"question": "What?", "answer": "word " * 400}) + "\n", encoding="utf-8")
    outcome = run("train", "--data", file, "--output", tmp_path / "out", "--max-steps", "1", "--rank", "2")
    assert outcome.code == 0
    assert "rows longer than 256 tokens, which will be cut: 1;" in outcome.err


def test_flags_beside_a_spec_are_refused_and_named(run: Run, tmp_path: Path) -> None:
    outcome = run("train", "--spec", tmp_path / "job.json", "--rank", "64")
    assert outcome.code == 2
    assert "--rank" in outcome.err


def test_two_ways_to_hold_rows_out_are_refused(run: Run, rows: Path, tmp_path: Path) -> None:
    outcome = run(
        "train", "--data", rows, "--validation", rows, "--validation-fraction", "0.1", "--output", tmp_path / "out"
    )
    assert outcome.code == 2
    assert not (tmp_path / "out").exists()


def test_an_adapter_is_published_for_the_tenant_of_the_settings(
    run: Run, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAD_TENANT", "acme")
    assert run("train", "--data", rows, "--output", tmp_path / "out", "--name", "support", *QUICK).code == 0
    assert run("adapters", "show", "support").code == 0
    monkeypatch.delenv("LORAD_TENANT")
    assert run("adapters", "show", "support").code == 1
