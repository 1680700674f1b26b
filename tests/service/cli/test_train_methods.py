"""`lorad train` by other methods than supervised learning from zero."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

Run = Callable[..., Any]
QUICK = ("--max-steps", "4", "--batch-size", "4", "--learning-rate", "0.01")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"What is ticket {n} about?", "chosen": f"refund {n}", "rejected": f"ticket {n} says nothing"}
        for n in range(10)
    ] + [
        {
            "prompt": [{"role": "user", "content": f"Say order {n}"}],
            "chosen": [{"role": "assistant", "content": f"order {n}"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for n in range(10)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def events_of(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_dpo_reports_rewards_and_publishes(run: Run, pairs: Path, tmp_path: Path) -> None:
    flags = ("--method", "dpo", "--dpo-beta", "0.2", "--validation-fraction", "0.2", "--rank", "4", "--json", *QUICK)
    events = events_of(run("train", "--data", pairs, "--output", tmp_path / "out", "--name", "liked", *flags))
    steps = [event for event in events if event["event"] == "step"]
    assert set(steps[-1]["figures"]) == {
        "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    }  # fmt: skip
    result = events[-1]
    assert result["base_valid_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert result["valid_figures"]["rewards/accuracies"] >= 0
    assert result["valid_bits_per_byte"] is None
    assert result["version"] == "liked:1"
    metrics = (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8")
    assert "rewards/margins" in metrics


def test_dpo_on_rows_that_are_no_pairs_is_refused_by_line(run: Run, rows: Path, tmp_path: Path) -> None:
    outcome = run("train", "--data", rows, "--output", tmp_path / "out", "--method", "dpo", *QUICK)
    assert outcome.code == 1
    assert f"{rows}:1: no preference pair" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_bad_pair_is_refused_by_file_and_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    file.write_text("\n".join(json.dumps(row) for row in (good, {**good, "rejected": "b"})), encoding="utf-8")
    outcome = run("train", "--data", file, "--output", tmp_path / "out", "--method", "dpo")
    assert outcome.code == 1
    assert f"{file}:2: chosen and rejected are the same answer" in outcome.err


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_begins_in_the_base_is_published_with_twice_the_rank(
    run: Run, rows: Path, tmp_path: Path, init: str
) -> None:
    flags = ("--init", init, "--rank", "3", "--lora-plus-ratio", "4", "--json", *QUICK)
    run("train", "--data", rows, "--output", tmp_path / "out", "--name", "support", *flags)
    (version,) = json.loads(run("adapters", "show", "support", "--json").out)
    assert version["rank"] == 6


def test_a_run_goes_on_from_a_version_and_says_so(run: Run, rows: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    events_of(run("train", "--data", rows, "--output", first, "--name", "support", "--rank", "3", "--json", *QUICK))
    for name, origin in (("again", "support:1"), ("folder", str(first))):
        output = tmp_path / name
        flags = ("--init-from", origin, "--name", name, "--json", "--max-steps", "1", "--learning-rate", "1e-9")
        result = events_of(run("train", "--data", rows, "--output", output, *flags))[-1]
        assert result["version"] == f"{name}:1"
        (version,) = json.loads(run("adapters", "show", name, "--json").out)
        assert version["rank"] == 3
        assert version["lineage"]["init_from"] == origin
        assert version["lineage"]["init_digest"].startswith("sha256:")
        before, after = (load_file(folder / "adapter_model.safetensors") for folder in (first, output))
        assert all((after[key] - before[key]).abs().max() < 1e-6 for key in before)


def test_a_start_of_another_rank_or_another_base_is_refused(run: Run, rows: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert run("train", "--data", rows, "--output", first, "--rank", "3", *QUICK).code == 0
    other = ("train", "--data", rows, "--output", tmp_path / "out", "--init-from", first)
    outcome = run(*other, "--rank", "8")
    assert outcome.code == 1
    assert "--rank 8 is not what" in outcome.err
    manifest = json.loads((first / "lorad.json").read_text(encoding="utf-8"))
    own = manifest["base"]["digest"]
    manifest["base"]["digest"] = "sha256:" + "0" * 64
    (first / "lorad.json").write_text(json.dumps(manifest), encoding="utf-8")
    outcome = run(*other)
    assert outcome.code == 1
    assert "sha256:000000" in outcome.err
    assert own[:14] in outcome.err
    assert not (tmp_path / "out").exists()


def test_raw_text_is_learnt_on_from_an_adapter(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    lines = [json.dumps({"text": f"Orders are sent on day {n}. Refunds take {n} days."}) for n in range(12)]
    file.write_text("\n".join(lines), encoding="utf-8")
    first, second = tmp_path / "first", tmp_path / "second"
    start = events_of(
        run("train", "--data", file, "--output", first, "--init", "pissa", "--rank", "2", "--json", *QUICK)
    )
    flags = ("--init-from", first, "--lora-plus-ratio", "2", "--validation-fraction", "0.2", "--json", *QUICK)
    result = events_of(run("train", "--data", file, "--output", second, *flags))[-1]
    assert start[-1]["train_loss"] > 0
    assert result["valid_loss"] < result["base_valid_loss"]
