"""`lorad data generate` and `propose` against a real server on a socket."""

import json
from pathlib import Path

import httpx
import pytest

from service.api.process.server import Server
from service.generation.engine_writer import EngineWriter
from tests.service.cli.conftest import Run
from tests.service.generation.conftest import SEEDS, RuleWriter


@pytest.fixture
def data(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`data("generate", …)` types `lorad data generate …` where LORAD_SERVER is set."""
    monkeypatch.setenv("LORAD_SERVER", server.url)
    return lambda *arguments: run("data", *arguments)


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text(SEEDS)
    return path


def test_rows_are_made_there_and_fetched(
    data: Run, seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineWriter, "write", lambda _self, asks: RuleWriter().write(asks))
    output = tmp_path / "new.jsonl"
    recipe = ("--recipe", "self-instruct", "--any-language", "--count", "5")

    done = data("generate", "--seeds", seeds, "--held-out", seeds, "--output", output, *recipe, "--json")

    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["status"], report["kept"], report["model"]) == ("completed", 5, "tiny")
    assert report["file_id"].startswith("file-")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["provenance"]["seeds"][0].split(":")[0] for row in rows] == ["seeds.jsonl"] * 5


def test_fewer_rows_than_wanted_end_with_1_and_no_row_with_the_reason(data: Run, seeds: Path, tmp_path: Path) -> None:
    few = ("--recipe", "paraphrase", "--count", "5", "--max-attempts", "2", "--max-characters", "1")

    done = data("generate", "--seeds", seeds, "--output", tmp_path / "new.jsonl", *few)

    assert done.code == 1
    assert "is partial and has kept no row: 0 of 5 rows were kept in 2 attempts, the limit" in done.err
    assert not (tmp_path / "new.jsonl").exists()


def test_flags_that_a_server_does_not_know_are_refused(data: Run, seeds: Path, tmp_path: Path) -> None:
    done = data("generate", "--seeds", seeds, "--output", tmp_path / "n.jsonl", "--recipe", "paraphrase", "--skip-bad")

    assert done.code == 1
    assert "leave --server" in done.err


def test_a_proposal_is_made_of_an_evaluation_there(server: Server, data: Run, seeds: Path) -> None:
    cases = [
        {"prompt": "Where is my card?", "completion": "card_arrival", "tags": ["card"]},
        {"prompt": "Stop my transfer.", "completion": "cancel_transfer", "tags": ["transfer"]},
    ]
    body = {"models": [None], "cases": cases, "metrics": ["exact_match"], "max_tokens": 4, "background": False}
    run_id = httpx.post(f"{server.url}/evaluate", json=body, timeout=60).json()["id"]

    done = data("propose", "--run", run_id, "--seeds", seeds, "--rows", "10", "--json")

    assert done.code == 0, done.err
    proposal = json.loads(done.out)
    assert (proposal["metric"], proposal["cases"], proposal["failed"], proposal["divided_by"]) == (
        "exact_match",
        2,
        2,
        "tag",
    )
    assert {each["name"]: each["rows"] for each in proposal["groups"] if each["kind"] == "tag"} == {
        "card": 5,
        "transfer": 5,
    }
    assert {each["place"] for each in proposal["seeds"]} == {f"{seeds}:1", f"{seeds}:4"}
