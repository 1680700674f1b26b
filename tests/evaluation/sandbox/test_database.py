from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from evaluation.sandbox.database import MAX_ROWS
from evaluation.sandbox.process import Sandbox, SandboxError

SETUP = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"
COUNT = "SELECT COUNT(*) FROM t"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox("evaluation.sandbox.database", seconds=10.0)
    yield made
    made.close()


def ask(sandbox: Sandbox, query: str, reference: str = COUNT, **more: Any) -> dict[str, Any]:
    return sandbox.ask(
        {"setup_sql": SETUP, "reference": reference, "ordered": False, "seconds": 0.5, **more, "query": query}
    )


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH DATABASE '{file}' AS other",
        "ATTACH ':memory:' AS other",
        "VACUUM INTO '{file}'",
        "VACUUM",
        "DELETE FROM t",
        "UPDATE t SET a = 9",
        "INSERT INTO t VALUES (4, 'z')",
        "REPLACE INTO t VALUES (4, 'z')",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "CREATE TABLE u (a)",
        "CREATE TEMP TABLE u AS SELECT * FROM t",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE u USING fts5(a)",
        "WITH gone AS (SELECT 1) DELETE FROM t",
        "DELETE FROM t RETURNING a",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA database_list",
        "PRAGMA hard_heap_limit = 0",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('/lib/x86_64-linux-gnu/libm.so.6')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('{file}', 'x')",
        "BEGIN",
        "ROLLBACK",
        "SAVEPOINT s",
        "EXPLAIN DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "SELECT",
        "I do not know.",
        "",
        "-- nothing",
        "SELECT 'a\x00b' FROM",
    ],
)
def test_what_is_no_reading_of_the_tables_is_refused_and_changes_nothing(
    sandbox: Sandbox, tmp_path: Path, query: str
) -> None:
    file = tmp_path / "other.db"
    assert "error" in ask(sandbox, query.format(file=file))
    assert not file.exists()
    assert ask(sandbox, "SELECT 3") == {"equal": True, "num_rows": 1}


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS + "SELECT COUNT(*) FROM n",
        ENDLESS + "SELECT i FROM n",
        ENDLESS + "SELECT i FROM n ORDER BY i DESC",
        ENDLESS + "SELECT DISTINCT zeroblob(1000000) || i FROM n",
        ENDLESS + "SELECT group_concat(i) FROM n",
        ENDLESS + "SELECT zeroblob(8000000) FROM n",
        "SELECT zeroblob(2000000000)",
        "SELECT hex(zeroblob(1000000000))",
        "SELECT replace(hex(zeroblob(3000000)), '0', hex(zeroblob(1000)))",
        "SELECT COUNT(*) FROM t a, t b, t c, t d, t e, t f, t g, t h, t i, t j, t k, t l, t m, t n, t o, t p, t q, t r",
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + " + ".join(["1"] * 5000),
        " UNION ALL ".join(["SELECT 1"] * 600),
    ],
)
def test_what_takes_too_much_time_or_memory_is_ended(sandbox: Sandbox, query: str) -> None:
    # Whoever ends it: SQLite itself, or the process that is killed.
    with suppress(SandboxError):
        assert "error" in ask(sandbox, query)
    assert ask(sandbox, "SELECT 3") == {"equal": True, "num_rows": 1}


def test_a_function_that_no_handler_ends_is_killed() -> None:
    sandbox = Sandbox("evaluation.sandbox.database", seconds=1.0)
    ask(sandbox, "SELECT 3")
    with pytest.raises(SandboxError, match="takes too long"):
        ask(sandbox, "SELECT instr(hex(zeroblob(4000000)), hex(zeroblob(2000000)) || '1')")
    assert ask(sandbox, "SELECT 3") == {"equal": True, "num_rows": 1}
    sandbox.close()


def test_more_rows_than_the_limit_are_an_error(sandbox: Sandbox) -> None:
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
    full = rows.format(MAX_ROWS)
    assert ask(sandbox, full, full) == {"equal": True, "num_rows": MAX_ROWS}
    assert ask(sandbox, rows.format(MAX_ROWS + 1)) == {"error": f"it gives more than {MAX_ROWS} rows"}


@pytest.mark.parametrize(
    ("query", "reference", "equal"),
    [
        ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t", True),
        ("SELECT a AS other FROM t", "SELECT a FROM t", True),
        ("SELECT a FROM t UNION ALL SELECT 1", "SELECT a FROM t", False),
        ("SELECT a, b FROM t", "SELECT b, a FROM t", False),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", True),
        ("SELECT 3.0", "SELECT COUNT(*) FROM t", True),
        ("SELECT '3'", "SELECT COUNT(*) FROM t", False),
        ("SELECT NULL", "SELECT b FROM t WHERE a = 3", True),
        ("SELECT 0", "SELECT b FROM t WHERE a = 3", False),
        ("SELECT 1 WHERE 0", "SELECT a FROM t WHERE a > 9", True),
        ("SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'ff' AS TEXT)", True),
        ("SELECT a FROM t;", "SELECT a FROM t", True),
    ],
)
def test_rows_are_compared_by_value(sandbox: Sandbox, query: str, reference: str, equal: bool) -> None:
    assert ask(sandbox, query, reference)["equal"] is equal


def test_order_counts_where_it_is_asked_for(sandbox: Sandbox) -> None:
    asked: dict[str, Any] = {"reference": "SELECT a FROM t ORDER BY a", "ordered": True}
    assert ask(sandbox, "SELECT a FROM t ORDER BY a DESC", **asked)["equal"] is False
    assert ask(sandbox, "SELECT a FROM t ORDER BY a", **asked)["equal"] is True


@pytest.mark.parametrize(
    "script",
    [
        "ATTACH DATABASE '{file}' AS other",
        "VACUUM INTO '{file}'",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA hard_heap_limit = 0",
        "SELECT load_extension('libm.so.6')",
        "CREATE VIRTUAL TABLE u USING fts5(a)",
        "CREATE TABLE t (",
        "CREATE TABLE big AS " + ENDLESS + "SELECT zeroblob(1000000) FROM n",
    ],
)
def test_a_setup_script_makes_tables_and_nothing_else(sandbox: Sandbox, tmp_path: Path, script: str) -> None:
    file = tmp_path / "other.db"
    reply = ask(sandbox, "SELECT 1", "SELECT 1", setup_sql=script.format(file=file))
    assert "setup_error" in reply or reply == {"error": "it needs too much memory"}
    assert not file.exists()


def test_a_dump_is_a_setup_script(sandbox: Sandbox) -> None:
    dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE u (a);\nINSERT INTO u VALUES(7);\nCOMMIT;\n"
    assert ask(sandbox, "SELECT 7", "SELECT a FROM u", setup_sql=dump)["equal"] is True


def test_a_wrong_reference_is_told_apart_from_a_wrong_answer(sandbox: Sandbox) -> None:
    assert ask(sandbox, "SELECT 1", "SELECT c FROM t") == {"reference_error": "no such column: c"}
    assert ask(sandbox, "SELECT c FROM t") == {"error": "no such column: c"}
