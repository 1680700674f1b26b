"""Several data files as a person names them, from the command line to the registry."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
QUICK = ("--epochs", "2", "--batch-size", "4", "--rank", "2")


def events(out: str, name: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, out.splitlines()) if event["event"] == name]


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Twelve rows of another format, layout and folder name."""
    path = tmp_path / "kind=other" / "labelled.csv"
    path.parent.mkdir()
    lines = ["text,label", *(f"where is card {n},{'card' if n % 3 else 'refund'}" for n in range(12))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_several_files_are_trained_on_and_the_version_names_them(
    run: Run, rows: Path, labelled: Path, tmp_path: Path
) -> None:
    flags = ("--data", rows, "--data", f"{labelled}=2.5", *QUICK, "--validation-fraction", "0.25", "--json")
    done = run("train", *flags, "--output", tmp_path / "out", "--name", "support")
    assert done.code == 0, done.err
    (start,) = events(done.out, "start")
    # Of each label two rows are held out, so 16 of 20 and 8 of 12 are learnt: 16 + 2.5 x 8 = 36 an epoch, in fours.
    assert (start["train_rows"], start["valid_rows"], start["total_steps"]) == (24, 8, 18)
    (version,) = json.loads(run("adapters", "show", "support", "--json").out)
    lineage = version["lineage"]
    assert lineage["data"] == [
        {"path": str(rows), "digest": f"sha256:{sha256(rows)}", "weight": 1.0},
        {"path": str(labelled), "digest": f"sha256:{sha256(labelled)}", "weight": 2.5},
    ]
    manifest = json.loads((tmp_path / "out" / "lorad.json").read_text())
    assert manifest["data"]["digest"] == lineage["data_digest"]
    again = run("train", *flags, "--output", tmp_path / "out", "--resume", "--seed", "0")
    assert again.code == 0, again.err
    other = run(
        "train", "--data", rows, "--data", f"{labelled}=2", *flags[4:], "--output", tmp_path / "out", "--resume"
    )
    assert (other.code, "other settings, data or base" in other.err) == (1, True)


def test_a_bad_row_is_named_by_its_own_file(run: Run, rows: Path, labelled: Path, tmp_path: Path) -> None:
    with labelled.open("a") as file:
        file.write("<|im_start|>hm,card\n")
    for command in (
        ("train", "--data", rows, "--data", labelled, "--output", tmp_path / "out"),
        ("data", "check", rows, labelled),
    ):
        outcome = run(*command)
        assert outcome.code == 1
        assert f"{labelled}:14" in outcome.err + outcome.out
        assert f"{rows}:14" not in outcome.err + outcome.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (["rows.jsonl=0"], 2, "FILE=WEIGHT"),
        (["rows.jsonl=much"], 2, "FILE=WEIGHT"),
        (["rows.jsonl", "none.jsonl"], 1, "none.jsonl does not exist"),
        (["rows.jsonl", "rows.jsonl=2"], 1, "is named twice"),
    ],
)
def test_files_that_cannot_be_mixed_are_refused(
    run: Run, rows: Path, tmp_path: Path, data: list[str], code: int, message: str
) -> None:
    files = [str(rows.parent / name) for name in data]
    flags = [part for file in files for part in ("--data", file)]
    for command in (("train", *flags, "--output", tmp_path / "out"), ("data", "check", *files)):
        outcome = run(*command)
        assert (outcome.code, message in outcome.err) == (code, True), outcome.err
    assert not (tmp_path / "out").exists()


def test_a_specification_names_files_with_weights_and_columns(
    run: Run, rows: Path, tmp_path: Path, tiny_base_folder: Path
) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"ask": "and now?", "say": "nothing"}\n', encoding="utf-8")
    columns = {"prompt": "ask", "completion": "say"}
    spec = {
        "data": [str(rows), {"path": str(odd), "weight": 2, "columns": columns}],
        "output": str(tmp_path / "out"),
        "base_model": str(tiny_base_folder),
        "config": {"rank": 2, "max_steps": 2},
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(spec), encoding="utf-8")
    done = run("train", "--spec", file, "--json")
    assert done.code == 0, done.err
    assert events(done.out, "start")[0]["train_rows"] == 21
    for wrong, word in (
        ([{"path": str(odd), "weigth": 2}], "weigth"),
        ([{"path": str(odd), "weight": 0}], "above 0"),
        ([{"path": str(odd), "columns": {"promt": "ask"}}], "promt"),
        ([], "at least 1 item"),
    ):
        file.write_text(json.dumps({**spec, "data": wrong}), encoding="utf-8")
        outcome = run("train", "--spec", file)
        assert (outcome.code, word in outcome.err) == (1, True), outcome.err


def test_a_check_shows_each_file_and_a_row_of_each(run: Run, rows: Path, labelled: Path) -> None:
    outcome = run("data", "check", rows, f"{labelled}=2")
    assert outcome.code == 0, outcome.err
    assert "together 32 rows" in outcome.out
    assert "text+label, drawn 2 times an epoch, 12 rows" in outcome.out
    assert f"{rows}:1 as the model sees it" in outcome.out
    assert f"{labelled}:2 as the model sees it" in outcome.out
    report = json.loads(run("data", "check", rows, f"{labelled}=2", "--batch-size", "4", "--json").out)
    assert [file["weight"] for file in report["train"]["files"]] == [1, 2]
    assert report["estimate"]["steps_per_epoch"] == 11  # 20 + 2 x 12 rows in fours


def test_a_second_run_finds_its_rows_as_tokens(run: Run, rows: Path, home: Path, tmp_path: Path) -> None:
    cached = home / "cache" / "tokens"
    first = run("train", "--data", rows, "--output", tmp_path / "first", *QUICK, "--json")
    (file,) = cached.iterdir()
    content = file.read_bytes()
    second = run("train", "--data", rows, "--output", tmp_path / "second", *QUICK, "--json")
    losses = [[event["loss"] for event in events(done.out, "step")] for done in (first, second)]
    assert losses[0] == losses[1]
    assert [path.read_bytes() for path in cached.iterdir()] == [content]
    file.write_bytes(b"torn")
    assert run("data", "check", rows).code == 0
    assert file.read_bytes() == content
