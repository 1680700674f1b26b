"""`lorad jobs` against a real server on a socket without a worker."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.api.process.server import Server
from tests.service.cli.conftest import Run


@pytest.fixture
def jobs(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`jobs("list")` types `lorad jobs list` where LORAD_SERVER is set."""
    monkeypatch.setenv("LORAD_SERVER", server.url)
    return lambda *arguments: run("jobs", *arguments)


def created(jobs: Run, *arguments: str | Path) -> dict[str, Any]:
    done = jobs("create", *arguments, "--json")
    assert done.code == 0, done.err
    job: dict[str, Any] = json.loads(done.out)
    return job


def test_a_file_is_sent_and_a_job_made(jobs: Run, rows: Path) -> None:
    job = created(
        jobs, "--data", rows, "--suffix", "support", "--epochs", "2", "--seed", "5", "--lora", "rank=4",
        "--lora", 'target_modules=["q_proj"]', "--metadata", "team=blue",
    )  # fmt: skip
    assert (job["status"], job["suffix"], job["seed"]) == ("queued", "support", 5)
    assert job["lora"] == {"rank": 4, "target_modules": ["q_proj"]}
    assert job["hyperparameters"]["n_epochs"] == 2
    assert job["metadata"] == {"team": "blue"}
    again = created(jobs, "--data", job["training_file"])
    assert again["training_file"] == job["training_file"]
    mixed = created(jobs, "--data", rows, "--data", job["training_file"])
    assert [each["weight"] for each in mixed["training_files"]] == [1.0, 1.0]


def test_jobs_are_listed_shown_paused_resumed_and_cancelled(jobs: Run, rows: Path) -> None:
    job = created(jobs, "--data", rows)["id"]
    assert job in jobs("list").out
    assert json.loads(jobs("list", "--limit", "1", "--json").out)[0]["id"] == job
    assert "in the queue" in jobs("show", job).out
    for action, status in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert status in jobs(action, job).out
    refused = jobs("resume", job)
    assert (refused.code, "is cancelled" in refused.err) == (1, True)
    assert json.loads(jobs("checkpoints", job, "--json").out) == []


def test_events_are_told_oldest_first_and_followed_to_the_end(jobs: Run, rows: Path) -> None:
    job = created(jobs, "--data", rows)["id"]
    jobs("pause", job)
    jobs("cancel", job)
    told = jobs("events", job).out.splitlines()
    assert "Created" in told[0]
    assert "cancelled" in told[-1]
    followed = jobs("events", job, "--follow", "--json")
    # Only a success is one.
    assert followed.code == 1
    assert [json.loads(line)["message"] for line in followed.out.splitlines()] == told


def test_what_is_wrong_is_said(jobs: Run, rows: Path) -> None:
    for arguments, code, said in (
        (["create", "--data", "nothing.jsonl"], 2, "neither a file here nor the id"),
        (["create", "--data", rows, "--lora", "rank"], 2, "KEY=VALUE"),
        (["create", "--data", rows, "--lora", "ranks=4"], 1, "lora.ranks"),
        (["create", "--data", rows, "--suffix", "My Model"], 1, "suffix 'My Model' is not valid"),
        (["show", "ftjob-none"], 1, "no job 'ftjob-none'"),
        (["events", "ftjob-none", "--follow"], 1, "no job 'ftjob-none'"),
    ):
        done = jobs(*arguments)
        assert (done.code, said in done.err) == (code, True), done.err


def test_without_a_server_there_are_no_jobs(run: Run) -> None:
    done = run("jobs", "list")
    assert done.code == 1
    assert "LORAD_SERVER" in done.err
