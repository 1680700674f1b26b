"""`lorad evaluate`, `compare`, `evaluations` and `suites` in this process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.judging.conftest import StartServer, start_server
from tests.service.cli.conftest import Run

__all__ = ["start_server"]

SUITE = """
name: tickets
description: What a ticket is about.
scorers: [exact_match, loss]
generation: {max_tokens: 4}
cases: cases.jsonl
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    cases = [{"prompt": f"ticket {n}", "completion": f"refund {n}"} for n in range(5)]
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, cases)), encoding="utf-8")
    path = tmp_path / "tickets.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture
def adapter(run: Run, make_adapter: Callable[..., Path], tmp_path: Path) -> str:
    assert run("adapters", "import", make_adapter(tmp_path / "a", seed=1), "--name", "support").code == 0
    return "support"


@pytest.fixture(params=["here", "on a server"])
def place(adapter: str, request: pytest.FixtureRequest) -> str:
    """Where the commands work; `support` is there."""
    if request.param == "on a server":
        request.getfixturevalue("remote")
    return adapter


@pytest.mark.usefixtures("place")
def test_a_suite_is_checked_added_listed_shown_and_deleted(run: Run, suite: Path) -> None:
    checked = json.loads(run("suites", "check", suite, "--json").out)
    assert checked["num_cases"] == 5
    assert json.loads(run("suites", "list", "--json").out) == []
    added = json.loads(run("suites", "add", suite, "--json").out)
    assert added["digest"] == checked["digest"]
    assert "tickets" in run("suites", "list").out
    shown = run("suites", "show", "tickets")
    assert "exact_match, loss" in shown.out
    assert "ticket 4" in shown.out
    assert run("suites", "delete", "tickets").code == 0
    gone = run("suites", "show", "tickets")
    assert (gone.code, "there is no suite 'tickets'" in gone.err) == (1, True)


def test_a_bad_suite_is_refused_with_case_and_field(run: Run, suite: Path) -> None:
    (suite.parent / "cases.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"completion": "b"}\n')
    refused = run("suites", "check", suite)
    assert refused.code == 1
    assert "case 1 has no prompt" in refused.err


def test_an_evaluation_is_kept_reported_and_compared(run: Run, suite: Path, place: str, tmp_path: Path) -> None:
    run("suites", "add", suite)
    report = tmp_path / "report"
    flags = ("--suite", "tickets", "--model", "base", "--model", place)
    first = run("evaluate", *flags, "--report", report, "--json")
    assert first.code == 0, first.err
    made = json.loads(first.out)
    assert (made["suite"]["num_cases"], made["suite"]["name"]) == (5, "tickets")
    assert [len(result["cases"]) for result in made["results"]] == [5, 5]
    assert list(report.glob("*.html"))
    assert list(report.glob("*.md"))
    second = json.loads(run("evaluate", "--suite", suite, "--model", place, "--json").out)
    assert second["suite"]["digest"] == made["suite"]["digest"]
    listed = json.loads(run("evaluations", "list", "--json").out)
    assert [each["id"] for each in listed] == [second["id"], made["id"]]
    assert "support:1" in run("evaluations", "show", made["id"]).out
    assert "completed" in run("evaluations", "events", made["id"]).out
    same = json.loads(run("compare", made["id"], made["id"], "--json").out)
    assert [(each["before"]["model"], each["after"]["model"]) for each in same] == [("tiny", "support:1")]
    lineage = run("adapters", "lineage", "support:1")
    assert f"eval  {second['id']}  5 cases" in lineage.out
    assert run("evaluations", "delete", second["id"]).code == 0
    assert len(json.loads(run("evaluations", "list", "--json").out)) == 1


def test_a_model_compared_with_its_copy_is_noise(run: Run, suite: Path, adapter: str) -> None:
    made = [json.loads(run("evaluate", "--suite", suite, "--model", adapter, "--json").out)["id"] for _ in range(2)]
    compared = run("compare", *made)
    assert compared.code == 0, compared.err
    assert "every difference is noise" in compared.out


def test_two_models_are_compared_on_a_file(run: Run, rows: Path, place: str) -> None:
    compared = run("compare", "base", place, "--data", rows, "--max-rows", "4", "--max-tokens", "3")
    assert compared.code == 0, compared.err
    assert "support:1" in compared.out
    assert "95% interval" in compared.out


@pytest.mark.parametrize("flags", [(), ("--suite", "x", "--data", "y.jsonl")])
def test_cases_come_from_one_place(run: Run, flags: tuple[str, ...]) -> None:
    refused = run("evaluate", *flags)
    assert refused.code == 2
    assert "--data FILE or --suite NAME" in refused.err


def test_parameters_of_a_scorer_are_json(run: Run, rows: Path) -> None:
    assert run("evaluate", "--data", rows, "--metrics", "regex=no").code == 2
    unknown = run("evaluate", "--data", rows, "--metrics", 'regex={"patern": "a"}')
    assert unknown.code == 1
    assert "patern" in unknown.err


def test_a_judge_chooses_between_two_models(
    run: Run, rows: Path, adapter: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = start_server()
    for name, value in (("URL", judge.url), ("MODEL", "long"), ("API_KEY", "secret")):
        monkeypatch.setenv(f"LORAD_JUDGE_{name}", value)
    flags = ("base", adapter, "--data", rows, "--max-rows", "3", "--max-tokens", "6", "--judge", "operator")
    judged = run("compare", *flags)
    assert judged.code == 0, judged.err
    assert "long prefers support:1 in" in judged.out
    assert "Both orders agree in 100%" in judged.out
    monkeypatch.delenv("LORAD_JUDGE_URL")
    monkeypatch.delenv("LORAD_JUDGE_MODEL")
    nobody = run("compare", *flags)
    assert (nobody.code, "LORAD_JUDGE_URL" in nobody.err) == (1, True)


def test_a_report_is_written_of_a_stored_evaluation_with_a_studys_curve(
    run: Run, rows: Path, adapter: str, tmp_path: Path
) -> None:
    made = json.loads(run("evaluate", "--data", rows, "--max-rows", "3", "--model", adapter, "--json").out)
    study = tmp_path / "study"
    study.mkdir()
    points = [{"train_rows": rows, "valid_loss": loss} for rows, loss in ((10, 2.5), (100, 1.5))]
    (study / "curve.json").write_text(json.dumps({"kind": "data_size", "points": points}))
    folder = tmp_path / "report"
    written = run("evaluations", "report", made["id"], "--output", folder, "--study", study)
    assert written.code == 0, written.err
    assert "Data size" in (folder / "report.md").read_text()
    assert (folder / "data-size.png").read_bytes()[:4] == b"\x89PNG"
    again = ("evaluations", "report", made["id"], "--output", folder)
    assert run(*again).code == 1
    assert run(*again, "--overwrite").code == 0
    assert not (folder / "data-size.png").exists()
    (study / "curve.json").write_text('{"kind": "base_size"}')
    refused = run("evaluations", "report", made["id"], "--output", tmp_path / "x", "--study", study)
    assert (refused.code, "is no curve of data sizes" in refused.err) == (1, True)
    assert not (tmp_path / "x").exists()


def test_a_report_may_be_written_into_the_folder_one_is_in(
    run: Run, rows: Path, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = json.loads(run("evaluate", "--data", rows, "--max-rows", "3", "--model", place, "--json").out)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run("evaluations", "report", made["id"], "--output", ".").code == 0
    assert (folder / "report.html").exists()
