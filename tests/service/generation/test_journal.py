import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.generation.errors import JournalError
from service.generation.journal import journal_path, open_journal, remove_journal
from service.generation.outcome import Outcome
from tests.service.generation.conftest import SEEDS

REPOSITORY = Path(__file__).parents[3]


def outcome(attempt: int) -> Outcome:
    return Outcome(attempt=attempt, row={"prompt": f"p{attempt}"})


def test_a_line_that_was_cut_is_cut_off(tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    with open_journal(output, "d") as journal:
        journal.add(outcome(0))
    with journal_path(output).open("ab") as stream:
        stream.write(b'{"attempt": 1, "row": {"pro')

    with open_journal(output, "d") as journal:
        assert journal.known() == [outcome(0)]
        journal.add(outcome(1))
    with open_journal(output, "d") as journal:
        assert journal.known() == [outcome(0), outcome(1)]


@pytest.mark.parametrize("left", [b"", b'{"plan": "d'])
def test_a_journal_without_a_heading_is_begun_anew(tmp_path: Path, left: bytes) -> None:
    output = tmp_path / "new.jsonl"
    journal_path(output).write_bytes(left)

    for _ in range(2):
        with open_journal(output, "d") as journal:
            assert journal.known() == []


def test_another_plan_is_not_gone_on_with(tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    with open_journal(output, "d") as journal:
        journal.add(outcome(0))

    with pytest.raises(JournalError, match="holds 1 attempts of another generation"), open_journal(output, "e"):
        pass
    with open_journal(output, "d") as journal:
        assert journal.known() == [outcome(0)]


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    with open_journal(output, "d"):
        pass
    with journal_path(output).open("ab") as stream:
        stream.write(b"nonsense\n")

    with pytest.raises(JournalError, match="is damaged"), open_journal(output, "d"):
        pass


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    code = "import sys; from pathlib import Path; from service.generation.journal import open_journal\n"
    code += "with open_journal(Path(sys.argv[1]), 'd'): pass"
    with open_journal(output, "d"):
        second = subprocess.run([sys.executable, "-c", code, str(output)], capture_output=True, text=True, check=False)

    assert "another process generates" in second.stderr


def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    output = tmp_path / "new.jsonl"
    with open_journal(output, "d"):
        pass
    remove_journal(output)

    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    seeds, output = tmp_path / "seeds.jsonl", tmp_path / "new.jsonl"
    seeds.write_text(SEEDS)
    command = [sys.executable, "-m", "tests.service.generation.generating", str(seeds), str(output)]
    seen = 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert process.stdout is not None
        with process.stdout:
            said = [process.stdout.readline() for _ in range(5)]
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        kept = _attempts(output)
        assert max(map(int, said)) <= len(kept)
        assert len(kept) >= seen
        seen = len(kept)
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY)

    attempts = _attempts(output)
    assert attempts == list(range(len(attempts)))
    undisturbed = tmp_path / "undisturbed.jsonl"
    subprocess.run([*command[:-1], str(undisturbed)], check=True, capture_output=True, cwd=REPOSITORY)
    assert _rows(output) == _rows(undisturbed)


def _attempts(output: Path) -> list[int]:
    lines = journal_path(output).read_bytes().split(b"\n")[1:-1]
    return [json.loads(line)["attempt"] for line in lines]


def _rows(output: Path) -> list[str]:
    lines = [json.loads(line) for line in journal_path(output).read_text().splitlines()[1:]]
    return [line["row"]["text"] for line in lines if line["row"] is not None]
