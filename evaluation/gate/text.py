"""Policies as people write them: `promote to prod if exact_match >= prod and no suite drops > 1 point`.

    promote [to ALIAS] [on SUITE, SUITE] if CONDITION [and CONDITION]...

    METRIC >=|>|<=|< NUMBER|ALIAS|base [+|- AMOUNT] [on SUITE] [significantly]
    no suite drops [significantly] [> AMOUNT] [in METRIC]
    every suite passes

An AMOUNT is a number in the metric's own unit, or a number of points, each a hundredth of a share between 0 and 1.
"""

import re
from typing import Any

from pydantic import ValidationError

from evaluation.errors import GateError
from evaluation.gate.policy import (
    POINT,
    Condition,
    DropCondition,
    MetricCondition,
    PassCondition,
    Policy,
    has_points,
    is_name,
)

EXAMPLE = "promote to prod if exact_match >= prod and no suite drops > 1 point"
_MAX_CHARS = 4096
_NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TOKEN = re.compile(rf"\s*(>=|<=|>|<|≥|≤|\+|-|,|{_NUMBER}(?![A-Za-z0-9._-])|{_WORD})")
_SIGNS = {"≥": ">=", "≤": "<="}
_POINTS = ("point", "points")


def parse(text: str, alias: str | None = None) -> Policy:
    """Read a policy.

    Args:
        text: as above.
        alias: that the policy is for, where the text does not name it; where it does, both must agree.

    Raises:
        GateError: names the word that is not understood and what was expected there.
    """
    if len(text) > _MAX_CHARS:
        raise GateError(f"a policy has at most {_MAX_CHARS} characters, not {len(text)}")
    reader = _Reader(_tokens(text))
    reader.expect("promote")
    named = reader.name("an alias") if reader.take("to") else alias
    if named is None:
        raise GateError(f"the policy names no alias; write, for example: {EXAMPLE}")
    if alias is not None and named != alias:
        raise GateError(f"the policy promotes to {named!r}, but it is a gate of {alias!r}: name one of them")
    suites = reader.names("a suite") if reader.take("on") else []
    reader.expect("if")
    conditions = [_condition(reader)]
    while reader.take("and"):
        conditions.append(_condition(reader))
    reader.end()
    return Policy.of({"alias": named, "suites": suites, "conditions": [each.model_dump() for each in conditions]})


def to_text(policy: Policy) -> str:
    """Write a policy so that `parse` reads the same."""
    on = f" on {', '.join(policy.suites)}" if policy.suites else ""
    return f"promote to {policy.alias}{on} if {' and '.join(map(condition_text, policy.conditions))}"


def condition_text(condition: Condition) -> str:
    """Write one condition."""
    if isinstance(condition, PassCondition):
        return "every suite passes"
    if isinstance(condition, DropCondition):
        words = ["no suite drops"]
        words += ["significantly"] if condition.significant else []
        words += [f"> {_amount_text(condition.margin, shares=True)}"] if condition.margin else []
        words += [f"in {condition.metric}"] if condition.metric else []
        return " ".join(words)
    to = condition.to if isinstance(condition.to, str) else _number_text(condition.to)
    words = [condition.metric, condition.comparison, to]
    if condition.margin:
        words += [
            "+" if condition.margin > 0 else "-",
            _amount_text(abs(condition.margin), shares=has_points(condition.metric)),
        ]
    words += [f"on {condition.suite}"] if condition.suite else []
    words += ["significantly"] if condition.significant else []
    return " ".join(words)


def _condition(reader: "_Reader") -> Condition:
    if reader.take("no"):
        return _drop(reader)
    if reader.take("every"):
        reader.expect("suite")
        reader.expect("passes")
        return PassCondition()
    metric = reader.name("a metric, 'no suite drops' or 'every suite passes'")
    values: dict[str, Any] = {"metric": metric, "comparison": reader.comparison()}
    values["to"] = reader.number_or_name("a number, an alias or 'base'")
    for sign, factor in (("+", 1), ("-", -1)):
        if reader.take(sign):
            values["margin"] = factor * reader.amount(metric)
            break
    if reader.take("on"):
        values["suite"] = reader.name("a suite")
    values["significant"] = reader.take("significantly")
    return _built(MetricCondition, values)


def _drop(reader: "_Reader") -> Condition:
    reader.expect("suite")
    reader.expect("drops")
    values: dict[str, Any] = {"significant": reader.take("significantly")}
    by = reader.take("by")
    if reader.take("more"):
        reader.expect("than")
        values["margin"] = reader.amount()
    elif reader.take(">"):
        values["margin"] = reader.amount()
    elif by:
        raise reader.unexpected("'more than'")
    if reader.take("in"):
        values["metric"] = reader.name("a metric")
    return _built(DropCondition, values)


def _built(kind: type[MetricCondition] | type[DropCondition], values: dict[str, Any]) -> Condition:
    try:
        return kind(**values)
    except ValidationError as error:
        raise GateError("; ".join(str(item["msg"]) for item in error.errors(include_url=False))) from error


def _number_text(value: float) -> str:
    shown = format(value, "f").rstrip("0").rstrip(".") if abs(value) < 1e15 else ""
    return shown if shown and float(shown) == value else repr(value)


def _amount_text(value: float, *, shares: bool) -> str:
    points = round(value / POINT, 6)
    if shares and points * POINT == value:
        return f"{points:g} point{'' if points == 1 else 's'}"
    return _number_text(value)


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise GateError(f"{text[at:].strip()[:20]!r} in the policy is not understood; an example: {EXAMPLE}")
        tokens.append(match[1])
        at = match.end()
    return [_SIGNS.get(token, token) for token in tokens]


class _Reader:
    """The words of a policy, one after the other."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def take(self, word: str) -> bool:
        """Whether this word is next; then it is read."""
        found = self._at < len(self._tokens) and self._tokens[self._at].lower() == word
        self._at += found
        return found

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise self.unexpected(repr(word))

    def name(self, what: str) -> str:
        token = self._next()
        if token is None or not is_name(token):
            raise self.unexpected(what)
        self._at += 1
        return token

    def names(self, what: str) -> list[str]:
        found = [self.name(what)]
        while self.take(","):
            found.append(self.name(what))
        return found

    def comparison(self) -> str:
        token = self._next()
        if token not in (">=", ">", "<=", "<"):
            raise self.unexpected("one of >=, >, <=, <")
        self._at += 1
        return token

    def number_or_name(self, what: str) -> float | str:
        number = _number(self._next())
        if number is None:
            return self.name(what)
        self._at += 1
        return number

    def amount(self, metric: str | None = None) -> float:
        number = _number(self._next())
        if number is None:
            raise self.unexpected("a number, such as '1 point' or '0.01'")
        self._at += 1
        if not any(self.take(word) for word in _POINTS):
            return number
        if metric is not None and not has_points(metric):
            raise GateError(f"{metric} is no share of 1, so it has no points: write a number in its own unit")
        return number * POINT

    def end(self) -> None:
        if self._next() is not None:
            raise self.unexpected("'and' or the end")

    def unexpected(self, wanted: str) -> GateError:
        found = self._next()
        where = "the end" if found is None else repr(found)
        before = " ".join(self._tokens[: self._at][-4:])
        after = f" after {before!r}" if before else ""
        return GateError(f"{wanted} was expected{after}, not {where}; an example: {EXAMPLE}")

    def _next(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None


def _number(token: str | None) -> float | None:
    return float(token) if token is not None and re.fullmatch(_NUMBER, token) else None
