"""A server that dies in the middle of an evaluation, by kill -9: the next one does what is missing and no more."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service.settings import Settings
from tests.service.api.conftest import upload_to, wait_until

NUM_CASES = 80
CASES = [{"prompt": f"What is ticket {n} about?", "completion": f"refund {n}"} for n in range(NUM_CASES)]
ASKED = {
    "models": [None, "a"],
    "cases": CASES,
    "metrics": ["loss", "exact_match"],
    "max_tokens": 12,
    "background": True,
}
LEASE_SECONDS = 2


@contextmanager
def served(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A server in a process of its own, ready."""
    environment = {
        **os.environ,
        "LORAD_HOME": str(settings.home),
        "LORAD_BASE_MODEL": settings.base_model,
        "LORAD_DEVICE": "cpu",
        "LORAD_KV_CACHE_MEMORY_BYTES": str(4 << 20),
        "LORAD_LEASE_SECONDS": str(LEASE_SECONDS),
        "LORAD_WORKERS": "0",
        "LORAD_PORT": "0",
    }
    code = (
        "from service.api.process.server import serve; from service.settings import Settings; "
        "serve(Settings(), on_ready=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                yield process, client
        finally:
            process.kill()


def kill_after_more(process: "subprocess.Popen[str]", client: httpx.Client, run_id: str) -> None:
    """Kills a server that has stored more answers than there were."""

    def done() -> int:
        return int(client.get(f"/evaluations/{run_id}").json()["progress"]["done"])

    before = done()
    wait_until(lambda: done() > before, 120)
    process.kill()
    process.wait()
    assert before < 2 * NUM_CASES


def answers(client: httpx.Client, run_id: str) -> dict[tuple[int, int], dict[str, Any]]:
    """What is stored, by model and case."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for model in (0, 1):
        page = client.get(f"/evaluations/{run_id}/cases", params={"model": model, "limit": 1000}).json()
        found |= {(model, case["index"]): case["answer"] for case in page["data"]}
    return found


@pytest.mark.parametrize("kills", [1, 2])
def test_what_was_stored_stays_and_the_rest_is_measured(
    make_settings: Callable[..., Settings], archives: dict[str, bytes], kills: int
) -> None:
    settings = make_settings()
    with served(settings) as (process, client):
        upload_to(str(client.base_url).rstrip("/"), "a", archives["a"], "none")
        run_id = client.post("/evaluate", json=ASKED).json()["id"]
        kill_after_more(process, client, run_id)
    for _ in range(kills - 1):
        with served(settings) as (process, client):
            kill_after_more(process, client, run_id)
    with served(settings) as (_, client):
        survived = answers(client, run_id)
        wait_until(lambda: client.get(f"/evaluations/{run_id}").json()["status"] == "completed", 240)
        run = client.get(f"/evaluations/{run_id}").json()
        finished = answers(client, run_id)
        again = client.post("/evaluate", json={**ASKED, "background": False}).json()
        events = client.get(f"/evaluations/{run_id}/events", params={"limit": 1000}).json()["data"]
    # `seconds` differ each time an answer is made, so equal ones were not made again.
    assert {key: finished[key] for key in survived} == survived
    assert len(finished) == run["progress"]["done"] == run["progress"]["total"] == 2 * NUM_CASES
    for result, expected in zip(run["results"], again["results"], strict=True):
        assert result["metrics"] == pytest.approx(expected["metrics"], rel=1e-5)
    assert sum("its server was lost" in event["message"] for event in events) == kills
