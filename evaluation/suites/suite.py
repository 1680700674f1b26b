"""A named set of cases with what measures them."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from corpus.messages import Message
from corpus.records import Record
from evaluation.errors import SettingsError
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GREEDY, GenerationSettings
from evaluation.suites.errors import InvalidSuiteError

GIVEN = "cases"
"""Name of a suite that is made of rows or of a request's cases: the digest must not depend on where they came from."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class SuiteCase:
    """One case, before any model's tokenizer has seen it."""

    __pydantic_config__ = _STRICT

    prompt: str | None = None
    """One user turn; or `messages`, or neither where `completion` is a plain text to be scored whole."""
    messages: tuple[Message, ...] = ()
    completion: str | None = None
    """What the model should say."""
    choices: tuple[str, ...] = ()
    """What it may choose from, by likelihood."""
    gold: int | None = None
    """Index of the right choice."""
    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the case's scorers read beside: a schema, a label, a set-up script."""
    tags: tuple[str, ...] = ()
    scorers: tuple[ScorerSpec, ...] | None = None
    """In place of the suite's."""

    def to_json(self) -> dict[str, JsonValue]:
        """The case as a suite's file has it; what has its default is left out."""
        return _object(self)

    @classmethod
    def of(cls, record: Record) -> "SuiteCase":
        """A row of a data file."""
        tags = () if record.label is None else (record.label,)
        fields: dict[str, JsonValue] = {}
        if record.tools is not None:
            fields["tools"] = [dict(tool) for tool in record.tools]
        return cls(messages=record.prompt_messages, completion=record.completion, fields=fields, tags=tags)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Cases, the scorers that most of them share, and what their metrics should at least be."""

    __pydantic_config__ = _STRICT

    name: str
    description: str = ""
    scorers: tuple[ScorerSpec, ...] = ()
    """Of every case that has none of its own."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """By metric: the least it may be, or the most of one that is better when lower."""
    tags: tuple[str, ...] = ()
    generation: GenerationSettings = GREEDY
    cases: tuple[SuiteCase, ...] = ()

    @cached_property
    def digest(self) -> str:
        """`sha256:…` over `to_json` in canonical form."""
        text = json.dumps(self.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def to_json(self) -> dict[str, JsonValue]:
        """The suite as its file has it, with the cases in it; what has its default is left out."""
        return _object(self)

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Suite":
        """What `to_json` wrote, or a person.

        Raises:
            InvalidSuiteError: names the case, the field and what is wrong with it.
        """
        try:
            suite = _SUITE.validate_python(_named(value))
        except ValidationError as error:
            raise InvalidSuiteError(_first(error)) from error
        except SettingsError as error:
            raise InvalidSuiteError(f"generation: {error}") from error
        if NAME.fullmatch(suite.name) is None:
            raise InvalidSuiteError(
                f"name: {suite.name[:80]!r} is none; write 1 to 64 of the letters A to Z in either case, digits and "
                "._-, the first a letter or a digit"
            )
        if not suite.cases:
            raise InvalidSuiteError("there are no cases; give at least one")
        return suite

    @classmethod
    def of_records(cls, name: str, records: Sequence[Record]) -> "Suite":
        """The rows of a data file, to be measured by the scorers of whoever asks."""
        return cls(name=name, cases=tuple(map(SuiteCase.of, records)))


_SUITE = TypeAdapter(Suite)


def _named(value: Any) -> Any:
    """`value` with scorers that are names alone as objects, here and in the cases."""
    if not isinstance(value, Mapping):
        return value
    found = dict(value)
    if isinstance(found.get("scorers"), list):
        found["scorers"] = [{"name": each} if isinstance(each, str) else each for each in found["scorers"]]
    if isinstance(found.get("cases"), list):
        found["cases"] = [_named(case) for case in found["cases"]]
    return found


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    match first["loc"]:
        case ("cases", int(index), *rest):
            where = " ".join([f"case {index}", ".".join(map(str, rest))]).strip()
        case rest:
            where = ".".join(map(str, rest)) or "the suite"
    return f"{where}: {first['msg']}"


def _object(value: Any) -> dict[str, JsonValue]:
    given = ((each.name, getattr(value, each.name), _default(each)) for each in fields(value))
    return {name: _written(found) for name, found, default in given if found != default}


def _written(value: Any) -> Any:
    if is_dataclass(value):
        return _object(value)
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    return [_written(item) for item in value] if isinstance(value, list | tuple) else value


def _default(each: Any) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()
