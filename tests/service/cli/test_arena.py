"""`lorad arena` against a real server on a socket."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from corpus.dataset import load
from service.api.answers import battles
from service.api.process.server import Server
from tests.service.api.conftest import archive_of
from tests.service.cli.conftest import Outcome, Run

Battle = Callable[..., Outcome]


@pytest.fixture(scope="module", autouse=True)
def adapter(server: Server, tmp_path_factory: pytest.TempPathFactory, make_adapter: Callable[..., Path]) -> None:
    """`a`, on the server."""
    archive = archive_of(make_adapter(tmp_path_factory.mktemp("adapters") / "a", seed=1))
    sent = httpx.post(
        f"{server.url}/v1/adapters", data={"name": "a"}, files={"file": ("x.tar.gz", archive)}, timeout=60
    )
    assert sent.status_code == 201, sent.text


@pytest.fixture
def arena(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`arena("list")` types `lorad arena list` where LORAD_SERVER is set."""
    monkeypatch.setenv("LORAD_SERVER", server.url)
    return lambda *arguments: run("arena", *arguments)


@pytest.fixture
def battle(arena: Run, monkeypatch: pytest.MonkeyPatch) -> Battle:
    """`battle(typed, …)`: what somebody types at the questions of `lorad arena battle …`."""

    def fight(typed: str, *arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return arena("battle", *arguments, "--max-tokens", "4")

    return fight


def lines(done: Outcome) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def newest(arena: Run, *arguments: str) -> dict[str, Any]:
    done = arena("list", "--limit", "1", "--json", *arguments)
    found: dict[str, Any] = json.loads(done.out)[0]
    return found


def test_two_answers_are_shown_and_named_after_the_vote(battle: Battle, arena: Run) -> None:
    done = battle("a clearer\n", "Say hello.", "--voter", "ann")

    assert done.code == 0, done.err
    assert "Say hello." in done.err
    assert "a:1" not in done.err
    assert "a:1" in done.out
    assert "tiny" in done.out
    made = newest(arena, "--voter", "ann")
    assert made["winner"] == "a"
    assert made["a"]["text"] in done.err
    assert made["b"]["text"] in done.err


def test_what_is_no_vote_is_asked_again(battle: Battle) -> None:
    votes = lines(battle("c\nA\n", "Say hello.", "--model", "base", "--model", "a", "--json"))

    assert [vote["winner"] for vote in votes] == ["a"]
    assert sorted(votes[0]["models"].values()) == ["a:1", "tiny"]


def test_battles_can_be_skipped_and_left(battle: Battle) -> None:
    assert [vote["winner"] for vote in lines(battle("\ntie\nq\n", "one", "two", "three", "four", "--json"))] == ["tie"]
    assert lines(battle("", "one", "two", "--json")) == []


def test_prompts_come_from_a_file(battle: Battle, rows: Path) -> None:
    done = battle("a\nb why not\n", "--data", rows, "--rounds", "2", "--json")

    assert [(vote["winner"], vote["comment"]) for vote in lines(done)] == [("a", ""), ("b", "why not")]
    assert done.err.count("What is ticket") == 2


def test_prompts_and_a_file_are_too_much(battle: Battle, rows: Path) -> None:
    for arguments in ([], ["one", "--data", rows]):
        done = battle("", *arguments)
        assert done.code == 2
        assert "give either prompts or --data" in done.err


def test_a_vote_counts_once(battle: Battle, arena: Run) -> None:
    battle("q\n", "Say hello.")
    made = newest(arena)
    assert made["models"] is None

    assert "b was" in arena("vote", made["id"], "b", "--comment", "x").out
    again = arena("vote", made["id"], "a")

    assert (again.code, "has voted" in again.err) == (1, True)
    assert "a:1" in arena("list", "--limit", "1").out


def test_scores_reach_the_leaderboard(battle: Battle, arena: Run) -> None:
    battle("q\n", "Say hello.")
    made = newest(arena)
    assert "4 of 5" in arena("rate", made["id"], "a", "4", "--comment", "short").out
    arena("vote", made["id"], "a")
    best = newest(arena)["models"]["a"]

    board = json.loads(arena("leaderboard", "--json").out)
    shown = arena("leaderboard").out

    assert [each["mean_score"] for each in board["data"] if each["model"] == best] == [4.0]
    assert "Bradley-Terry" in shown
    assert "4.0 (1)" in shown


def test_votes_become_a_file_of_preferences(
    battle: Battle, arena: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A random model ends no answer by itself, and a preferred one that was cut off makes no pair.
    answered = battles._answer
    monkeypatch.setattr(battles, "_answer", lambda *given: replace(answered(*given), finish_reason="stop"))
    battle("a\n", "Export me.")
    output = tmp_path / "pairs.jsonl"

    done = arena("export", "--output", output)

    assert done.code == 0, done.err
    records = load(output).records
    assert f"{len(records)} pairs" in done.err
    assert any("Export me." in record.prompt for record in records)
    assert arena("export", "--output", output).code == 2


def test_an_answer_becomes_a_case(battle: Battle, arena: Run, tmp_path: Path) -> None:
    battle("q\n", "Save me.")
    made = newest(arena)
    file = tmp_path / "cases.jsonl"
    file.write_text('{"prompt": "one", "completion": "two"}', encoding="utf-8")

    assert "1 cases" in arena("save", made["id"], "--side", "b", "--suite", "mine").out
    for arguments in (["--side", "a"], ["--completion", "Saved.", "--tag", "x"]):
        assert arena("save", made["id"], *arguments, "--file", file).code == 0

    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row["completion"] for row in rows] == ["two", made["a"]["text"], "Saved."]
    assert rows[2]["tags"] == ["x"]
    assert arena("save", made["id"], "--suite", "mine").code == 2


def test_a_battle_can_be_deleted(battle: Battle, arena: Run) -> None:
    battle("q\n", "Delete me.")
    made = newest(arena)["id"]

    assert arena("delete", made).code == 0
    assert made not in arena("list").out


def test_without_a_server_there_is_no_battle(run: Run) -> None:
    done = run("arena", "leaderboard")

    assert done.code == 1
    assert "--server URL or set LORAD_SERVER" in done.err
