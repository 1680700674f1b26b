"""The command line in this process, on a home of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.cli.main import main


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


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Twenty question and answer rows."""
    path = tmp_path / "rows.jsonl"
    lines = [f'{{"question": "What is ticket {n} about?", "answer": "refund {n}"}}' for n in range(20)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
