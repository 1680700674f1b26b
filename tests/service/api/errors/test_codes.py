"""Every code that the source can give is in the list, and every code of the list is given somewhere."""

import ast
from collections.abc import Iterator
from pathlib import Path

import service
from service.api.errors import handlers as error_handlers
from service.api.errors import mapping as error_mapping
from service.api.errors.codes import ERROR_CODES
from service.jobs import reports

SOURCES = [
    *(Path(service.__path__[0]) / "api").rglob("*.py"),
    *(Path(service.__path__[0]) / "jobs").rglob("*.py"),
]
FORMED = {
    *(f"server_{phase}" for phase in ("loading", "draining", "failed")),
    *(f"too_many_{noun}" for noun in ("evaluations", "preflights")),
    *("invalid_value", "unknown_parameter", "unsupported_parameter"),
}
"""Those that are put together, or are the default, in the source."""


def given() -> Iterator[str]:
    yield from FORMED
    yield from error_handlers._CODES.values()
    yield from reports._CODES.values()
    yield from (code for _, code in error_mapping._STATUS_AND_CODE.values())
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code":
                yield from (
                    each.value
                    for each in ast.walk(node.value)
                    if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier()
                )


def test_the_list_is_what_the_source_gives() -> None:
    listed = [code for codes in ERROR_CODES.values() for code in codes]
    assert len(listed) == len(set(listed))
    formed_from = {"server_", "too_many_"}
    found = set(given()) - formed_from
    # A warning of a run, and not of an error.
    assert found - set(listed) == set()
    assert set(listed) - found <= {"invalid_request"}
