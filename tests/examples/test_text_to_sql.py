import json
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "text_to_sql"
SIDES = ("train", "test")


def rows(side: str) -> list[dict[str, str]]:
    lines = (FOLDER / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def normalised(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text_to_sql")
    command = [sys.executable, "-B", str(FOLDER / "make.py"), "--output", str(folder), "--database", str(folder / "db")]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def shop(made: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(made / "db")) as connection:
        connection.execute("PRAGMA query_only = ON")
        yield connection


@pytest.mark.parametrize("side", SIDES)
def test_running_the_script_again_reproduces_the_file_byte_for_byte(made: Path, side: str) -> None:
    assert (made / f"{side}.jsonl").read_bytes() == (FOLDER / f"{side}.jsonl").read_bytes()


@pytest.mark.parametrize("side", SIDES)
def test_every_answer_runs_and_finds_something(shop: sqlite3.Connection, side: str) -> None:
    fruitless = [
        row["output"]
        for row in rows(side)
        if not any(value not in (None, 0) for result in shop.execute(row["output"]) for value in result)
    ]
    assert fruitless == []


def test_the_input_names_the_columns_of_the_schema(shop: sqlite3.Connection) -> None:
    tables = [name for (name,) in shop.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")]
    columns = {table: ", ".join(row[1] for row in shop.execute(f"PRAGMA table_info({table})")) for table in tables}
    schema = "\n".join(f"{table}({columns[table]})" for table in tables if not table.startswith("sqlite_"))
    assert {row["input"] for side in SIDES for row in rows(side)} == {schema}


def test_no_question_and_no_answer_occurs_twice() -> None:
    both = [row for side in SIDES for row in rows(side)]
    assert len({normalised(row["instruction"]) for row in both}) == len(both)
    assert len({row["output"] for row in both}) == len(both)


def test_rows_have_exactly_the_three_columns_filled() -> None:
    both = [row for side in SIDES for row in rows(side)]
    assert all(list(row) == ["instruction", "input", "output"] and all(row.values()) for row in both)


@pytest.mark.parametrize("side", SIDES)
def test_the_data_card_states_the_number_of_rows(side: str) -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"`{side}.jsonl` ({len(rows(side))} rows)" in card
