"""Write the regression suites of the two examples: a YAML file and a JSONL of cases each, out of their test rows.

Run `python make.py`; it always writes the same bytes.
"""

import argparse
import json
import re
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1]
KINDS = {
    "join": r"\bJOIN\b", "group": r"\bGROUP BY\b", "having": r"\bHAVING\b", "sort": r"\bORDER BY\b",
    "limit": r"\bLIMIT\b", "null": r"\bNULL\b", "nested": r"\(\s*SELECT\b",
}  # fmt: skip
"""Tags of a query by what it uses."""
TICKETS = """\
# Tickets to JSON: the 144 test rows of examples/ticket_routing. Made by make.py.
name: ticket_routing
description: A support ticket in, its queue, priority, product and need for a person as one line of JSON out.
scorers:
  - exact_match
  - json_valid
  - name: json_schema
    params:
      schema: {schema}
  - json_fields
# What an adapter must reach before tickets are routed by it.
thresholds:
  json_valid: 0.99
  json_schema: 0.98
  json_fields: 0.85
tags: [regression]
generation:
  max_tokens: 64
cases: ticket_routing.jsonl
"""
SQL = """\
# Questions to SQL: the 135 test rows of examples/text_to_sql. Made by make.py.
name: text_to_sql
description: A question about a small shop and its tables in, one SQLite query out that gives the right rows.
scorers:
  - name: sql
    params:
      setup_sql: |
{setup}
  - exact_match
# What an adapter must reach before its queries are run for people.
thresholds:
  sql: 0.8
tags: [regression]
generation:
  max_tokens: 160
cases: text_to_sql.jsonl
"""
Case = dict[str, Any]


def rows(example: str) -> list[dict[str, str]]:
    """The test rows of an example."""
    lines = (EXAMPLES / example / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ticket_cases() -> list[Case]:
    """Tickets, with their queue and priority as tags."""
    cases = []
    for row in rows("ticket_routing"):
        label = json.loads(row["completion"])
        cases.append({**row, "tags": [f"queue:{label['queue']}", f"priority:{label['priority']}"]})
    return cases


def ticket_schema(cases: Iterable[Case]) -> dict[str, Any]:
    """What every label looks like, with the values that occur."""
    labels = [json.loads(case["completion"]) for case in cases]
    values = {name: sorted({label[name] for label in labels}, key=str) for name in labels[0]}
    return {
        "type": "object",
        "properties": {name: {"enum": found} for name, found in values.items()},
        "required": list(values),
        "additionalProperties": False,
    }


def sql_cases() -> list[Case]:
    """Questions as training puts them, with what their query uses as tags."""
    return [
        {
            "prompt": f"{row['instruction']}\n\n{row['input']}",
            "completion": row["output"],
            "tags": [tag for tag, pattern in KINDS.items() if re.search(pattern, row["output"])] or ["plain"],
        }
        for row in rows("text_to_sql")
    ]


def setup_script(connection: sqlite3.Connection) -> str:
    """The shop: its tables, and one statement for all rows of each."""
    script = [(EXAMPLES / "text_to_sql" / "schema.sql").read_text(encoding="utf-8").strip()]
    for table in ("customers", "products", "orders"):
        found = connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
        listed = ",\n".join("(" + ",".join(map(literal, row)) + ")" for row in found)
        script.append(f"INSERT INTO {table} VALUES\n{listed};")
    return "\n\n".join(script)


def literal(value: str | float | None) -> str:
    """A value as SQLite reads it."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def write(folder: Path, name: str, suite: str, cases: list[Case]) -> None:
    """Write one suite."""
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    for path, text in ((folder / f"{name}.yaml", suite), (folder / f"{name}.jsonl", "\n".join(lines) + "\n")):
        path.write_text(text, encoding="utf-8", newline="\n")
        print(f"{path}: {len(text):,} characters")


def main() -> None:
    """Make both suites."""
    parser = argparse.ArgumentParser(description="Write the suites of the examples.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    folder = parser.parse_args().output
    tickets = ticket_cases()
    write(folder, "ticket_routing", TICKETS.format(schema=json.dumps(ticket_schema(tickets))), tickets)
    sys.path.insert(0, str(EXAMPLES / "text_to_sql"))
    from shop import build  # a script of the other example, not a package

    with closing(build()) as connection:
        script = setup_script(connection)
    indented = "\n".join(f"        {line}" if line else "" for line in script.splitlines())
    write(folder, "text_to_sql", SQL.format(setup=indented), sql_cases())


if __name__ == "__main__":
    main()
