"""The command line in this process, on a home of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.api.process.server import Server
from service.cli.main import main
from service.settings import Settings
from tests.service.api.conftest import wait_until


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_base_folder: Path) -> Path:
    """An empty LORAD_HOME whose default base is the tiny one."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LORAD_HOME", str(folder))
    monkeypatch.setenv("LORAD_BASE_MODEL", str(tiny_base_folder))
    monkeypatch.setenv("LORAD_KV_CACHE_MEMORY_BYTES", str(4 << 20))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("LORAD_SERVER", raising=False)
    return folder


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("adapters", "list")` types `lorad adapters list`."""
    assert home

    def run_command(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["lorad", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return run_command


@contextmanager
def serving(**fields: Any) -> Iterator[Server]:
    """A real server on a socket, once it is ready; it is stopped afterwards.

    Args:
        fields: settings that the environment does not name.
    """
    server = Server(Settings(**{"device": "cpu", "port": 0, "workers": 0, "shutdown_timeout": 5, **fields}))
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    # A new checkout compiles first.
    wait_until(lambda: server.lifecycle.phase == "ready", seconds=180)
    yield server
    server.stop()
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_base_folder: Path) -> Iterator[Server]:
    """One for all tests of a module, with a home of its own."""
    with serving(
        home=tmp_path_factory.mktemp("home"), base_model=str(tiny_base_folder), kv_cache_memory_bytes=4 << 20
    ) as server:
        yield server


@pytest.fixture
def remote(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The test's home, behind a server that every command asks from now on."""
    with serving() as server:
        monkeypatch.setenv("LORAD_SERVER", server.url)
        yield home


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twenty question and answer rows."""
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"question": "What is ticket {n} about?", "answer": "refund {n}"}}' for n in range(20)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
