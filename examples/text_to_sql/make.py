"""Write train.jsonl and test.jsonl: questions about a small shop, and the SQLite query that answers each.

Run `python make.py`; it always writes the same bytes. `--database FILE` also writes the shop as a SQLite file, to
compare what two queries return.
"""

import argparse
import json
import random
import sqlite3
from pathlib import Path

from questions import Template, load_templates, normalised
from shop import INPUT, build

SEED = 7
ROWS_PER_TEMPLATE = 12
TEST_FRACTION = 0.2
Row = dict[str, str]


def results(connection: sqlite3.Connection, sql: str, backwards: bool) -> list[tuple[object, ...]]:
    """Return what a query yields; `backwards` makes SQLite visit unordered rows from the last to the first."""
    connection.execute(f"PRAGMA reverse_unordered_selects = {'ON' if backwards else 'OFF'}")
    return connection.execute(sql).fetchall()


def is_good(connection: sqlite3.Connection, sql: str) -> bool:
    """Tell whether a query has an answer worth asking for, and only one.

    There must be rows, not only NULL or 0 in them, and no tie may decide what comes first or makes the limit: then
    reading the table backwards would change the result.
    """
    forwards, backwards = (results(connection, sql, backwards) for backwards in (False, True))
    if not any(value not in (None, 0) for row in forwards for value in row):
        return False
    if "ORDER BY" in sql:
        return forwards == backwards
    return sorted(map(repr, forwards)) == sorted(map(repr, backwards))


def rows_of(template: Template, connection: sqlite3.Connection, rng: random.Random) -> list[Row]:
    """Return up to `ROWS_PER_TEMPLATE` rows of a template, each with SQL of its own."""
    fillings = list(template.fillings())
    rng.shuffle(fillings)
    rows: list[Row] = []
    for filling in fillings:
        if len(rows) == ROWS_PER_TEMPLATE:
            break
        sql = template.answer(filling)
        if is_good(connection, sql):
            rows.append({"instruction": template.ask(filling, rng), "input": INPUT, "output": sql})
    return rows


def check_unique(rows: list[Row]) -> None:
    """Refuse two rows that ask the same, or that share their SQL."""
    for values in ([normalised(row["instruction"]) for row in rows], [row["output"] for row in rows]):
        repeated = sorted({value for value in values if values.count(value) > 1})
        if repeated:
            raise ValueError(
                f"{len(repeated)} repeated, the first is {repeated[0]!r}: change a wording in templates.toml"
            )


def make(connection: sqlite3.Connection) -> tuple[list[Row], list[Row]]:
    """Return the training and the test rows; every template is trained on, all but the smallest are tested."""
    rng = random.Random(SEED)
    train: list[Row] = []
    test: list[Row] = []
    for template in load_templates():
        rows = rows_of(template, connection, rng)
        if not rows:
            raise ValueError(f"template {template.name!r} has no answer in the shop's data: widen its slots")
        num_test = round(len(rows) * TEST_FRACTION)
        test += rows[:num_test]
        train += rows[num_test:]
    check_unique(train + test)
    rng.shuffle(train)
    rng.shuffle(test)
    return train, test


def write(path: Path, rows: list[Row]) -> None:
    """Write rows as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode())


def main() -> None:
    """Parse the flags, write the files and print their sizes."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description="Write the text-to-SQL example: train.jsonl and test.jsonl.")
    parser.add_argument(
        "--output", type=Path, default=here, help="folder for the two files (default: beside this script)"
    )
    parser.add_argument(
        "--database", type=Path, help="also write the shop's data to this SQLite file, which must be new"
    )
    arguments = parser.parse_args()
    train, test = make(build(arguments.database or ":memory:"))
    for name, rows in (("train", train), ("test", test)):
        write(arguments.output / f"{name}.jsonl", rows)
        print(f"{name}.jsonl: {len(rows)} rows")


if __name__ == "__main__":
    main()
