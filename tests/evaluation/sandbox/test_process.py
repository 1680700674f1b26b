import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.sandbox.process import Sandbox, SandboxError


@pytest.fixture
def patterns() -> Iterator[Sandbox]:
    sandbox = Sandbox("evaluation.sandbox.pattern", seconds=1.0)
    yield sandbox
    sandbox.close()


def request(pattern: str, text: str) -> dict[str, Any]:
    return {"pattern": pattern, "text": text, "full": False, "ignore_case": False}


def pid(sandbox: Sandbox) -> int:
    assert sandbox._worker is not None
    return sandbox._worker.pid


def test_one_process_answers_many_requests(patterns: Sandbox) -> None:
    assert patterns.ask(request("b+", "abc")) == {"matches": True}
    first = pid(patterns)
    assert patterns.ask(request("x", "abc\nü")) == {"matches": False}
    assert pid(patterns) == first


def test_what_takes_too_long_is_killed_and_the_next_request_is_answered(patterns: Sandbox) -> None:
    patterns.ask(request("a", "a"))
    first = pid(patterns)
    with pytest.raises(SandboxError, match="takes too long"):
        patterns.ask(request("(a+)+$", "a" * 60 + "b"))
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert patterns.ask(request("a", "a")) == {"matches": True}


def test_a_worker_that_dies_is_told_and_replaced(patterns: Sandbox) -> None:
    patterns.ask(request("a", "a"))
    os.kill(pid(patterns), 9)
    with pytest.raises(SandboxError):
        patterns.ask(request("a", "a"))
    assert patterns.ask(request("a", "a")) == {"matches": True}


def test_a_worker_that_nobody_can_kill_ends_by_itself() -> None:
    command = [sys.executable, "-m", "evaluation.sandbox.worker", "evaluation.sandbox.pattern", "1"]
    asked = json.dumps(request("(a+)+$", "a" * 60 + "b")).encode() + b"\n"
    found = subprocess.run(command, input=asked, capture_output=True, cwd=Path(__file__).parents[3], check=False)
    assert found.returncode == -signal.SIGALRM
    assert found.stdout == b"{}\n"


def test_the_worker_ends_with_its_sandbox() -> None:
    sandbox = Sandbox("evaluation.sandbox.pattern", seconds=5.0)
    sandbox.ask(request("a", "a"))
    worker = pid(sandbox)
    del sandbox
    gc.collect()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
    pytest.fail("the worker is still there")
