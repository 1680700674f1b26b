"""A gate's policy: what must hold of a candidate before an alias may point to it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from evaluation.errors import GateError, UnknownMetricError
from evaluation.metrics import LOWER_IS_BETTER, check_metrics

Comparison = Literal[">=", ">", "<=", "<"]
BASE = "base"
"""In a policy: the base model. Every other name is an alias of the same adapter."""
POINT = 0.01
"""One point of a metric that is a share between 0 and 1."""
_NO_SHARES = LOWER_IS_BETTER | {"tokens_per_second"}


def has_points(metric: str) -> bool:
    """Whether a metric is a share between 0 and 1, of which more is better."""
    return metric not in _NO_SHARES


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_KEYWORDS = ("promote", "to", "on", "if", "and", "no", "every", "significantly", "in", "by", "more", "than")


def is_name(text: str) -> bool:
    """Whether a policy can name an alias, a suite or a metric so: what the text form would read otherwise cannot."""
    return bool(_NAME.fullmatch(text)) and text.lower() not in _KEYWORDS and not _NUMBER.fullmatch(text)


def _checked_name(text: str) -> str:
    if not is_name(text):
        raise _wrong(f"{text[:80]!r} cannot be named in a policy: a name has letters, digits, '.', '_' and '-'")
    return text


Name = Annotated[str, AfterValidator(_checked_name)]
_MAX_CONDITIONS = 32
_MAX_SUITES = 16


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class MetricCondition(_Strict):
    """The candidate's metric beside a number, or beside another model's on the same cases."""

    kind: Literal["metric"] = "metric"
    metric: str
    comparison: Comparison
    """`>=` or `>`; for a metric that is better when lower `<=` or `<`."""
    to: Annotated[float, Field(ge=0)] | Name
    """A number, an alias, or `base`."""
    margin: float = 0.0
    """Added to what it is compared with."""
    suite: Name | None = None
    """None: every suite that measures the metric, and at least one."""
    significant: bool = False
    """The difference must be more than noise, and its interval lie beyond the margin."""

    @model_validator(mode="after")
    def _check(self) -> "MetricCondition":
        _check_metric(self.metric)
        wanted = "<" if self.metric in LOWER_IS_BETTER else ">"
        if not self.comparison.startswith(wanted):
            better = "lower" if wanted == "<" else "higher"
            raise _wrong(f"{self.metric} is better when {better}: write {wanted} or {wanted}=, not {self.comparison}")
        if self.significant and not isinstance(self.to, str):
            raise _wrong(f"{self.metric}: only a model can be beaten significantly, not the number {self.to:g}")
        if self.significant and "=" in self.comparison:
            raise _wrong(f"{self.metric}: write {wanted} before 'significantly': an equal value is no difference")
        return self


class DropCondition(_Strict):
    """No suite may lose against what the alias points to now."""

    kind: Literal["no_drop"] = "no_drop"
    margin: float = Field(default=0.0, ge=0)
    """What may be lost: 0.01 is a point."""
    metric: str | None = None
    """None: every share of every suite that is measured case by case."""
    significant: bool = False
    """Only a loss that is more than noise counts."""

    @model_validator(mode="after")
    def _check(self) -> "DropCondition":
        if self.metric is not None:
            _check_metric(self.metric)
            if self.metric in LOWER_IS_BETTER:
                raise _wrong(f"{self.metric} is better when lower, so it does not drop: write {self.metric} <= ALIAS")
            if not has_points(self.metric):
                raise _wrong(f"{self.metric} is no share of 1: write {self.metric} >= ALIAS - NUMBER")
        return self


class PassCondition(_Strict):
    """Every suite's own thresholds hold."""

    kind: Literal["passes"] = "passes"


Condition = Annotated[MetricCondition | DropCondition | PassCondition, Field(discriminator="kind")]


class Policy(_Strict):
    """When an alias may move to a candidate: all conditions must hold."""

    alias: Name
    """The alias that moves."""
    suites: tuple[Name, ...] = Field(default=(), max_length=_MAX_SUITES)
    """What is run; suites that conditions name need not be named again."""
    conditions: tuple[Condition, ...] = Field(min_length=1, max_length=_MAX_CONDITIONS)

    @model_validator(mode="after")
    def _check(self) -> "Policy":
        if self.alias == BASE:
            raise _wrong(f"{BASE!r} is the base model and cannot be an alias")
        if len(set(self.suites)) < len(self.suites):
            raise _wrong("a suite is named twice")
        return self

    @property
    def all_suites(self) -> tuple[str, ...]:
        """Every suite that is run, in the order in which they are named."""
        named = (each.suite for each in self.conditions if isinstance(each, MetricCondition) and each.suite)
        return tuple(dict.fromkeys([*self.suites, *named]))

    @property
    def references(self) -> tuple[str, ...]:
        """The models that the candidate is held against: the alias first, then what conditions name."""
        return tuple(dict.fromkeys([self.alias, *self._named()]))

    def check_measured(self, metrics: Mapping[str, Sequence[str]]) -> None:
        """Check that the suites give the metrics that conditions name.

        Args:
            metrics: what the scorers of each suite give; nothing where a suite leaves them open.

        Raises:
            GateError: says which condition's metric nothing gives, and what is given.
        """
        for condition in self.conditions:
            metric = None if isinstance(condition, PassCondition) else condition.metric
            suite = condition.suite if isinstance(condition, MetricCondition) else None
            given = [metrics[name] for name in ([suite] if suite else self.all_suites)]
            if metric is not None and all(given) and not any(metric in each for each in given):
                where = f"suite {suite!r}" if suite else f"the suites {', '.join(self.all_suites)}"
                known = ", ".join(dict.fromkeys(each for names in given for each in names))
                raise GateError(f"no scorer of {where} gives {metric}; they give {known}")

    def to_json(self) -> dict[str, Any]:
        """As it is stored, and as YAML and JSON have it."""
        return self.model_dump(mode="json")

    @classmethod
    def of(cls, value: Any) -> "Policy":
        """Of what `to_json` gave, or a person wrote in YAML or JSON.

        Raises:
            GateError: names the place and what is wrong there.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise GateError("; ".join(_shown(item) for item in error.errors(include_url=False))) from error

    def _named(self) -> Iterator[str]:
        for condition in self.conditions:
            if isinstance(condition, MetricCondition) and isinstance(condition.to, str):
                yield condition.to


def _check_metric(metric: str) -> None:
    try:
        check_metrics([metric])
    except UnknownMetricError as error:
        raise _wrong(str(error)) from error


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("policy", "{reason}", {"reason": message})


def _shown(item: Any) -> str:
    place = ".".join(map(str, item["loc"]))
    message = str(item["msg"])
    return f"policy.{place}: {message}" if place else f"policy: {message}"
