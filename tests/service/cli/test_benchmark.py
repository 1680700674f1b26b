import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.harness.conftest import write_files
from tests.service.cli.conftest import Run


def test_base_and_adapter_are_measured_and_the_tasks_left(
    run: Run, make_adapter: Callable[..., Path], tmp_path: Path
) -> None:
    run("adapters", "import", str(make_adapter(tmp_path / "peft", seed=1)), "--name", "tuned")
    data, tasks = str(write_files(tmp_path / "data")), tmp_path / "tasks"
    flags = ("--model", "base", "--model", "tuned", "--data", data, "--limit", "2", "--write-tasks", str(tasks))
    outcome = run("benchmark", "arc_easy,truthfulqa_mc1", *flags)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["task", "questions", "metric", "tiny", "tuned:1"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["arc_easy", "2", "acc"],
        ["arc_easy", "2", "acc_norm"],
        ["truthfulqa_mc1", "1", "acc"],
    ]
    assert lines[4].startswith("tuned:1 (sha256:")
    assert "is applied: it changes" in lines[4]
    assert (tasks / "arc_easy" / "task.yaml").is_file()


def test_as_json_with_every_question(run: Run, tmp_path: Path) -> None:
    data = str(write_files(tmp_path / "data"))
    (short,) = json.loads(run("benchmark", "arc_easy", "--data", data, "--json").out)
    assert short["model"] == "tiny"
    assert short["applied"] is None
    assert short["digest"].startswith("sha256:")
    assert "questions" not in short["tasks"][0]
    (whole,) = json.loads(run("benchmark", "arc_easy", "--data", data, "--json", "--questions").out)
    assert [len(question["responses"]) for question in whole["tasks"][0]["questions"]] == [3, 2, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("arc_eazy",), "'arc_eazy' is no benchmark; did you mean 'arc_easy'?"),
        (("arc_challenge",), "no folder arc_challenge"),
        (("arc_easy", "--model", "missing"), "missing"),
    ],
)
def test_what_cannot_be_measured_is_an_error(
    arguments: tuple[str, ...], message: str, run: Run, tmp_path: Path
) -> None:
    outcome = run("benchmark", *arguments, "--data", str(write_files(tmp_path / "data")))
    assert outcome.code == 1
    assert message in outcome.err


def test_without_the_harness_the_error_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    outcome = run("benchmark", "arc_easy")
    assert outcome.code == 1
    assert "pip install 'lorad[benchmarks]'" in outcome.err
