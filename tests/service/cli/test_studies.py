"""Curves and sweeps as a person starts them, on the tiny base."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""

QUICK = ("--epochs", "2", "--batch-size", "4", "--rank", "2", "--learning-rate", "0.01")
PNG = b"\x89PNG\r\n"


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Forty rows of which more is better."""
    path = tmp_path / "many.jsonl"
    lines = [f'{{"question": "What is ticket {n} about?", "answer": "refund {n % 5}"}}' for n in range(40)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def curve(run: Run, rows: Path, output: Path, *flags: str | Path) -> Any:
    held_out = ("--validation-fraction", "0.25")
    return run("train", "--data", rows, *held_out, "--output", output, *QUICK, "--json", *flags)


def test_a_data_curve_measures_nested_shares_by_the_same_rows(run: Run, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "curve"
    done = curve(run, many, output, "--data-fractions", "1.0,0.2,0.5")
    assert done.code == 0, done.err
    told = events(done.out)
    assert [event["label"] for event in told if event["event"] == "run"] == [
        "0.2 of the rows", "0.5 of the rows", "1 of the rows",
    ]  # fmt: skip
    points = json.loads((output / "curve.json").read_text())["points"]
    assert [point["train_rows"] for point in points] == [6, 15, 30]
    assert {point["valid_rows"] for point in points} == {10}
    assert len({point["base_valid_loss"] for point in points}) == 1
    assert [event["valid_loss"] for event in told if event["event"] == "result"] == [p["valid_loss"] for p in points]
    assert (output / "curve.png").read_bytes().startswith(PNG)
    report = (output / "report.md").read_text()
    assert all(f"{point['valid_loss']:.4f}" in report for point in points)
    assert told[-1]["event"] == "report"
    assert told[-1]["fit"]["exponent"] == json.loads((output / "curve.json").read_text())["fit"]["exponent"]


def test_finished_points_are_not_run_again_and_missing_ones_are(run: Run, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "curve"
    whole = events(curve(run, many, output, "--data-fractions", "0.2,1.0").out)[-1]
    shutil.rmtree(output / "fraction-1")
    (output / "curve.json").unlink()
    untouched = (output / "fraction-0.2" / "metrics.jsonl").stat().st_mtime_ns
    assert curve(run, many, output, "--data-fractions", "0.2,1.0").code == 1
    again = curve(run, many, output, "--data-fractions", "0.2,1.0", "--resume")
    assert again.code == 0, again.err
    told = events(again.out)
    assert sum(event["event"] == "start" for event in told) == 1
    losses = [[point["valid_loss"] for point in report["points"]] for report in (whole, told[-1])]
    assert losses[0] == losses[1]
    assert (output / "fraction-0.2" / "metrics.jsonl").stat().st_mtime_ns == untouched


def test_points_of_other_settings_or_data_are_not_mixed_in(run: Run, many: Path, tmp_path: Path) -> None:
    output = tmp_path / "curve"
    assert curve(run, many, output, "--data-fractions", "0.5").code == 0
    other = curve(run, many, output, "--data-fractions", "0.5", "--resume", "--seed", "3")
    assert (other.code, "config" in other.err) == (1, True)
    with many.open("a") as file:
        file.write('{"question": "new?", "answer": "new"}\n')
    changed = curve(run, many, output, "--data-fractions", "0.5", "--resume")
    assert (changed.code, "data_digest" in changed.err) == (1, True)
    assert curve(run, many, output, "--data-fractions", "0.5", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--data-fractions", "0.5,two"), 2, "by comma"),
        (("--data-fractions", "0,1"), 2, "above 0"),
        (("--data-fractions", "0.5", "--bases", "a,b"), 2, "do not go together"),
        (("--bases", "a,a"), 2, "different bases"),
        (("--data-fractions", "0.5", "--name", "support"), 1, "leave out --name"),
        (("--bases", "a,b", "--name", "support"), 1, "leave out --name"),
    ],
)
def test_a_study_that_cannot_be_done_is_refused(
    run: Run, many: Path, tmp_path: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    done = curve(run, many, tmp_path / "curve", *flags)
    assert done.code == code
    assert message in done.err
    assert not (tmp_path / "curve").exists()


def test_runs_without_rows_to_compare_by_are_refused(run: Run, many: Path, tmp_path: Path) -> None:
    done = run("train", "--data", many, "--output", tmp_path / "curve", "--data-fractions", "0.5", *QUICK)
    assert done.code == 1
    assert "--validation" in done.err


def test_bases_are_compared_by_bits_per_byte(
    run: Run, many: Path, tmp_path: Path, tiny_base_folder: Path, family_folder: Callable[[str], Path]
) -> None:
    output = tmp_path / "curve"
    larger = family_folder("qwen2")
    done = curve(run, many, output, "--bases", f"{larger},{tiny_base_folder}")
    assert done.code == 0, done.err
    points = json.loads((output / "curve.json").read_text())["points"]
    assert [point["base"] for point in points] == [str(tiny_base_folder), str(larger)]
    for point in points:
        assert point["parameters"] > 1000
        assert point["train_flop"] == 4 * point["parameters"] * point["trained_tokens"]
        # Every answer has more bytes than tokens here, so bits per byte are fewer than bits per token.
        assert 0 < point["bits_per_byte"] < point["valid_loss"] / 0.693
        assert point["bits_per_byte"] / point["base_bits_per_byte"] == pytest.approx(
            point["valid_loss"] / point["base_valid_loss"]
        )
    assert (output / "curve.png").read_bytes().startswith(PNG)


def test_bases_with_rows_cut_off_are_not_compared(run: Run, many: Path, tmp_path: Path) -> None:
    with many.open("a") as file:
        for n in range(30):
            file.write(json.dumps({"question": f"{n}?", "answer": "long " * 90}) + "\n")
    done = curve(run, many, tmp_path / "curve", "--bases", os.environ["LORAD_BASE_MODEL"], "--max-length", "64")
    assert done.code == 1
    assert "raise --max-length" in done.err


SWEEP = """
trials = {trials}
[pruning]
startup_trials = 1
[space]
learning_rate = {{ low = 1e-4, high = 3e-2, log = true }}
rank = {{ choices = [2, 4] }}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[int], Path]:
    def write(trials: int) -> Path:
        path = tmp_path / "sweep.toml"
        path.write_text(SWEEP.format(trials=trials), encoding="utf-8")
        return path

    return write


def test_a_sweep_publishes_its_best_trial_and_grows_when_resumed(
    run: Run, many: Path, tmp_path: Path, sweep: Callable[[int], Path]
) -> None:
    output = tmp_path / "sweep"
    done = curve(run, many, output, "--sweep", str(sweep(3)), "--name", "support", "--eval-every", "2")
    assert done.code == 0, done.err
    report = events(done.out)[-1]
    assert len(report["trials"]) == 3
    finished = [trial for trial in report["trials"] if trial["state"] == "finished"]
    assert report["best"]["valid_loss"] == min(trial["valid_loss"] for trial in finished)
    assert report["version"] == "support:1"
    best = (output / "best").resolve()
    assert best.name == report["best"]["folder"]
    (shown,) = json.loads(run("adapters", "show", "support", "--json").out)
    assert shown["rank"] == report["best"]["params"]["rank"]
    assert json.loads((best / "result.json").read_text())["result"]["valid_loss"] == report["best"]["valid_loss"]
    assert (output / "sweep.png").read_bytes().startswith(PNG)
    more = curve(run, many, output, "--sweep", str(sweep(5)), "--name", "support", "--eval-every", "2", "--resume")
    assert more.code == 0, more.err
    grown = events(more.out)[-1]["trials"]
    assert grown[:3] == report["trials"]
    assert len(grown) == 5


def test_a_killed_trial_is_tried_again_with_its_settings(
    run: Run, many: Path, tmp_path: Path, sweep: Callable[[int], Path]
) -> None:
    output = tmp_path / "sweep"
    flags = [
        "--data", str(many), "--validation-fraction", "0.25", "--output", str(output), "--sweep", str(sweep(2)),
        "--epochs", "30", "--batch-size", "4", "--save-every", "2", "--json",
    ]  # fmt: skip
    command = [sys.executable, "-c", "from service.cli.main import main; main()", "train", *flags]
    with subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if '"step": 5,' in line)
        process.send_signal(signal.SIGKILL)
    storage = f"sqlite:///{output}/study.db"
    (cut,) = optuna.load_study(study_name="sweep", storage=storage).trials
    assert cut.state == TrialState.RUNNING
    done = run("train", *flags, "--resume")
    assert done.code == 0, done.err
    told = events(done.out)
    # It went on from its checkpoint, not from the start.
    assert next(event for event in told if event["event"] == "start")["first_step"] >= 2
    report = told[-1]
    assert len(report["trials"]) == 2
    assert report["trials"][0]["params"] == cut.params
    assert report["trials"][0]["state"] == "finished"


def test_a_hopeless_trial_is_given_up_and_its_checkpoints_go(run: Run, many: Path, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        "trials = 6\nsampler = 'random'\nseed = 1\n[pruning]\nstartup_trials = 1\n"
        "[space]\nlearning_rate = { choices = [1e-6, 2e-2] }\nwarmup_ratio = { low = 0, high = 0.5 }\n"
    )
    output = tmp_path / "sweep"
    done = curve(run, many, output, "--sweep", str(path), "--eval-every", "2")
    assert done.code == 0, done.err
    report = events(done.out)[-1]
    trials = report["trials"]
    given_up = [trial for trial in trials if trial["state"] == "given up"]
    assert given_up
    for trial in given_up:
        assert trial["valid_loss"] > report["best"]["valid_loss"]
        assert trial["steps"] < 16
        assert not (output / "trials" / trial["folder"] / "checkpoints").exists()
    assert {1e-6} <= {trial["params"]["learning_rate"] for trial in given_up}
    assert report["best"]["params"]["learning_rate"] == 2e-2


def test_a_curve_over_several_files_is_not_mixed_with_another_weight(run: Run, many: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("question,answer\n" + "".join(f"what of card {n}?,card {n % 3}\n" for n in range(20)))
    output = tmp_path / "curve"
    flags = ("--data", more, "--data-fractions", "0.5,1.0")
    assert curve(run, many, output, *flags).code == 0
    points = json.loads((output / "curve.json").read_text())["points"]
    assert [(point["train_rows"], point["valid_rows"]) for point in points] == [(22, 15), (45, 15)]
    other = curve(run, many, output, "--data", f"{more}=2", "--data-fractions", "0.5,1.0", "--resume")
    assert (other.code, "another data;" in other.err) == (1, True)
    with more.open("a") as file:
        file.write("new?,new\n")
    changed = curve(run, many, output, *flags, "--resume")
    assert (changed.code, "data_digest" in changed.err) == (1, True)


def test_a_point_that_began_with_another_version_is_not_reused(run: Run, many: Path, tmp_path: Path) -> None:
    flags = ("--data", many, *QUICK[:-2])
    assert run("train", *flags, "--output", tmp_path / "first", "--name", "start").code == 0
    output = tmp_path / "curve"
    go_on = ("--data", many, "--validation-fraction", "0.25", "--output", output, "--epochs", "1", "--init-from")
    assert run("train", *go_on, "start", "--data-fractions", "0.5").code == 0
    assert run("train", *go_on, "start", "--data-fractions", "0.5", "--resume").code == 0
    assert run("train", *flags, "--seed", "1", "--output", tmp_path / "second", "--name", "start").code == 0
    newer = run("train", *go_on, "start", "--data-fractions", "0.5", "--resume")
    assert (newer.code, "init_digest" in newer.err) == (1, True)
    assert run("train", *go_on, "start:1", "--data-fractions", "0.5", "--resume").code == 0
    # A folder's name says even less than a version's.
    folder = ("--data-fractions", "0.5", "--overwrite")
    assert run("train", *go_on, tmp_path / "first", *folder).code == 0
    shutil.copytree(tmp_path / "second", tmp_path / "first", dirs_exist_ok=True)
    assert "init_digest" in run("train", *go_on, tmp_path / "first", *folder[:2], "--resume").err


def test_a_sweep_whose_published_rank_is_too_large_is_refused_at_once(
    run: Run, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAD_MAX_LORA_RANK", "6")
    path = tmp_path / "sweep.toml"
    path.write_text('trials = 1\n[space]\nrank = { low = 2, high = 4 }\ninit = { choices = ["default", "pissa"] }\n')
    done = curve(run, many, tmp_path / "sweep", "--sweep", path, "--name", "support")
    assert (done.code, "8" in done.err, "MAX_LORA_RANK" in done.err) == (1, True, True), done.err
    assert not (tmp_path / "sweep").exists()
    # Without PiSSA the same ranks are published as they are.
    path.write_text("trials = 1\n[space]\nrank = { low = 2, high = 4 }\n")
    done = curve(run, many, tmp_path / "sweep", "--sweep", path, "--name", "support")
    assert done.code == 0, done.err
    (version,) = json.loads(run("adapters", "show", "support", "--json").out)
    assert version["lineage"]["data"][0]["digest"].startswith("sha256:")
    assert version["lineage"]["sweep_trials"] == 1
