"""Queries on an SQLite database in memory that they can read and nothing else.

SQLite's own advice for untrusted SQL (https://sqlite.org/security.html): an authorizer, limits, a handler that ends
what takes too long, a bound on the heap. The process around it is for what these do not reach, such as one slow
function.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import lru_cache
from typing import Any

MAX_ROWS = 10_000
SETUP_SECONDS = 10.0
_MAX_HEAP_BYTES = 256 << 20
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LENGTH: 8 << 20,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 8 << 20,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_BUILDING = _READING | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_REINDEX,
    sqlite3.SQLITE_TRANSACTION,
}
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_DUMP_PRAGMA = "foreign_keys"
"""The one that `.dump` writes."""
_INSTRUCTIONS = 1000
"""Of SQLite's virtual machine between two looks at the clock."""


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run a query, and hold its rows against those of another.

    Args:
        request: `setup_sql`; `reference`; `ordered`, whether the order of rows matters; `seconds` for each query;
            optionally `query`.

    Returns:
        `setup_error`, `reference_error` or `error` where one of them fails; else `equal` and `num_rows`, if there is a
        query.
    """
    try:
        connection = _database(request["setup_sql"])
    except (sqlite3.Error, sqlite3.Warning) as error:
        return {"setup_error": str(error)}
    try:
        right = _rows(connection, request["reference"], request["seconds"])
    except (sqlite3.Error, sqlite3.Warning) as error:
        return {"reference_error": str(error)}
    if request.get("query") is None:
        return {}
    try:
        said = _rows(connection, request["query"], request["seconds"])
    except (sqlite3.Error, sqlite3.Warning) as error:
        return {"error": str(error)}
    equal = said == right if request["ordered"] else Counter(said) == Counter(right)
    return {"equal": equal, "num_rows": len(said)}


@lru_cache(maxsize=4)
def _database(setup_sql: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    # Sorting never writes a file.
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA hard_heap_limit = {_MAX_HEAP_BYTES}")
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    _bound(connection, SETUP_SECONDS)
    connection.set_authorizer(_allows(_BUILDING))
    try:
        connection.executescript(setup_sql)
        if connection.in_transaction:
            connection.commit()
    except BaseException:
        connection.close()
        raise
    connection.set_authorizer(None)
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(_allows(_READING))
    return connection


def _rows(connection: sqlite3.Connection, query: str, seconds: float) -> list[tuple[Any, ...]]:
    _bound(connection, seconds)
    with closing(connection.cursor()) as cursor:
        rows = cursor.execute(query).fetchmany(MAX_ROWS + 1)
        if cursor.description is None:
            raise sqlite3.ProgrammingError("it is no query")
    if len(rows) > MAX_ROWS:
        raise sqlite3.DataError(f"it gives more than {MAX_ROWS} rows")
    return [tuple(map(_comparable, row)) for row in rows]


def _comparable(value: Any) -> Any:
    # Sums of the same numbers in another order differ in their last digits.
    return float(f"{value:.9g}") if isinstance(value, float) else value


def _bound(connection: sqlite3.Connection, seconds: float) -> None:
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, _INSTRUCTIONS)


def _allows(actions: set[int]) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_PRAGMA and sqlite3.SQLITE_INSERT in actions:
            return sqlite3.SQLITE_OK if (first or "").lower() == _DUMP_PRAGMA else sqlite3.SQLITE_DENY
        if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK if action in actions else sqlite3.SQLITE_DENY

    return authorize
