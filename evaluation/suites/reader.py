"""Suites as files: YAML or JSON with the cases in it, or with the JSONL beside it that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.events import AliasEvent
from yaml.nodes import Node

from corpus.rows import defect, parse_json
from evaluation.suites.check import check
from evaluation.suites.errors import InvalidSuiteError
from evaluation.suites.suite import Suite


def read(path: Path) -> Suite:
    """The suite of a YAML or JSON file.

    Raises:
        InvalidSuiteError: names the file, the case's number, the field and what is wrong with it.
    """
    value = _value(path)
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


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few of them, nested, make a short text a value that no memory holds."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """See `Composer`."""
        if self.check_event(AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "aliases (*name) are not read; write the value out", mark)
        return super().compose_node(parent, index)


def _value(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSuiteError(f"{path.name} cannot be read as UTF-8 text: {type(error).__name__}") from error
    if text.lstrip().startswith("{"):
        # YAML is not quite a superset: it reads escapes, numbers such as 1e-05 and tabs otherwise.
        try:
            return _json(text)
        except ValueError as error:
            raise InvalidSuiteError(f"{path.name} begins with {{ and cannot be read as JSON: {error}") from error
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InvalidSuiteError(f"{path.name} cannot be read as YAML: {_line(error)}") from error
    except RecursionError:
        raise InvalidSuiteError(f"{path.name} cannot be read as YAML: it is nested too deeply") from None


def _json(text: str) -> Any:
    value = parse_json(text)
    if reason := defect(value):
        raise ValueError(reason)
    return value


def _cases(path: Path, name: str) -> Iterator[Any]:
    # Whoever sends a suite to a server must not read the server's files with it.
    if name != Path(name).name:
        raise InvalidSuiteError(f"{path.name}: cases: {name[:80]!r} must be the plain name of a JSONL file beside it")
    beside = path.parent / name
    try:
        lines = beside.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSuiteError(f"{path.name}: cases: {name[:80]!r} beside it cannot be read") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _json(line)
            except ValueError as error:
                raise InvalidSuiteError(f"{name} line {number} cannot be read as JSON: {error}") from error


def _line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return where + str(getattr(error, "problem", None) or type(error).__name__)
