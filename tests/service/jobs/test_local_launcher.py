import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.jobs.errors import LaunchError
from service.jobs.launcher import Launch
from service.jobs.local_launcher import LocalLauncher, LocalRun
from storage.errors import StorageFullError

SLEEP = "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); print('up', flush=True); time.sleep(300)"


@pytest.fixture
def launcher(tmp_path: Path) -> LocalLauncher:
    return LocalLauncher(tmp_path / "logs")


@pytest.fixture
def runs() -> Iterator[list[LocalRun]]:
    made: list[LocalRun] = []
    yield made
    for run in made:
        run.kill()


def launch(code: str, lease_seconds: float = 60) -> Launch:
    return Launch(name="run", command=(sys.executable, "-c", code), lease_seconds=lease_seconds)


def status_of(run: LocalRun, seconds: float = 20) -> int:
    deadline = time.monotonic() + seconds
    while (status := run.status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return status


def test_a_command_tells_its_lines_its_last_words_and_its_status(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    code = (
        "import os, sys; print('one'); print(os.environ['WHO'], os.getpid() != os.getpgrp()); "
        "print('bad', file=sys.stderr); sys.exit(3)"
    )
    run = launcher.start(
        Launch(name="run", command=(sys.executable, "-c", code), environment={"WHO": "me"}, lease_seconds=60)
    )
    runs.append(run)
    assert list(run.lines()) == ["one", "me True"]
    assert status_of(run) == 3
    assert run.last_words() == "bad"


@pytest.mark.parametrize(("policy", "spins"), [(None, "1000"), ("PASSIVE", None)])
def test_a_commands_threads_soon_sleep_unless_the_operator_says_how_they_wait(
    launcher: LocalLauncher,
    runs: list[LocalRun],
    policy: str | None,
    spins: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    runs.append(launcher.start(launch("import os; print(os.environ.get('GOMP_SPINCOUNT'))")))
    assert list(runs[0].lines()) == [str(spins)]


def test_an_interrupt_reaches_the_command(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); print('up', flush=True); time.sleep(60)"
    )
    run = launcher.start(launch(code))
    runs.append(run)
    assert next(run.lines()) == "up"
    run.interrupt()
    assert status_of(run) == 75


def test_a_signal_is_told_as_shells_do(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    run = launcher.start(launch("import os; os.kill(os.getpid(), 9)"))
    runs.append(run)
    assert status_of(run) == 128 + signal.SIGKILL


def test_what_is_not_renewed_dies_with_all_that_it_started(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    run = launcher.start(launch(SLEEP, lease_seconds=1))
    runs.append(run)
    assert next(run.lines()) == "up"
    group = run._process.pid
    for _ in range(4):
        time.sleep(0.5)
        run.renew()
    assert run.status() is None
    assert status_of(run) == 128 + signal.SIGKILL
    _wait_until_gone(group)


def test_killing_takes_all_that_it_started(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    run = launcher.start(launch(SLEEP))
    runs.append(run)
    assert next(run.lines()) == "up"
    run.kill()
    _wait_until_gone(run._process.pid)
    run.kill()
    run.renew()
    run.interrupt()


def test_nothing_outlives_the_launchers_process(tmp_path: Path) -> None:
    holder = f"""
import sys, time
from pathlib import Path
from service.jobs.launcher import Launch
from service.jobs.local_launcher import LocalLauncher
command = ({sys.executable!r}, "-c", {SLEEP!r})
run = LocalLauncher(Path({str(tmp_path)!r})).start(Launch(name="run", command=command, lease_seconds=60))
assert next(run.lines()) == "up"
print(run._process.pid, flush=True)
time.sleep(300)
"""
    process = subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    group = int(process.stdout.readline())
    assert len(_alive(group)) >= 3
    process.kill()
    process.wait()
    process.stdout.close()
    _wait_until_gone(group)


def test_a_command_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(LaunchError, match="run cannot be started"):
        LocalLauncher(tmp_path / "logs").start(launch("pass"))


def _wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 10
    while _alive(group):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_a_line_without_end_is_passed_over(launcher: LocalLauncher, runs: list[LocalRun]) -> None:
    run = launcher.start(launch("print('one'); print('x' * 5_000_000); print('two'); print('end', end='')"))
    runs.append(run)
    assert list(run.lines()) == ["one", "two", "end"]


def test_no_room_for_the_log_is_no_fault_of_the_command(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StorageFullError, match="No space left"):
        launcher.start(launch("pass"))
