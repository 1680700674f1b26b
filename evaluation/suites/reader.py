"""Suites as files: YAML with the cases in it, or with the JSONL beside it that it names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from evaluation.suites.check import check
from evaluation.suites.errors import InvalidSuiteError
from evaluation.suites.suite import Suite


def read(path: Path) -> Suite:
    """The suite of a YAML or JSON file.

    Raises:
        InvalidSuiteError: names the file, the case's number, the field and what is wrong with it.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSuiteError(f"{path.name} cannot be read as YAML: {_line(error)}") from error
    if not isinstance(value, dict):
        raise InvalidSuiteError(f"{path.name} holds no suite: write name, scorers and cases as a YAML object")
    if isinstance(value.get("cases"), str):
        value = {**value, "cases": list(_cases(path, value["cases"]))}
    try:
        suite = Suite.of(value)
        check(suite)
    except InvalidSuiteError as error:
        raise InvalidSuiteError(f"{path.name}: {error}") from error
    return suite


def _cases(path: Path, name: str) -> Iterator[Any]:
    # Whoever sends a suite to a server must not read the server's files with it.
    if name != Path(name).name:
        raise InvalidSuiteError(f"{path.name}: cases: {name[:80]!r} must be the plain name of a JSONL file beside it")
    beside = path.parent / name
    try:
        lines = beside.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSuiteError(f"{path.name}: cases: {name[:80]!r} beside it cannot be read") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InvalidSuiteError(f"{name} line {number} is not JSON: {error}") from error


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return where + str(getattr(error, "problem", None) or type(error).__name__)
