"""Finding adapters by what their versions are called, made from and worth."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from adapters.errors import InvalidSearchError
from adapters.registry import Registry
from adapters.tables import READY, AdapterRow, TagRow, VersionRow
from adapters.version import Adapter, Version

MAX_CONDITIONS: Final = 16
MAX_TEXT_CHARS: Final = 256
_BATCH = 100
_METRIC = re.compile(r"([^<>=]{1,128})(<=|>=|=|<|>)(.{1,40})", re.ASCII)
_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True, kw_only=True)
class MetricCondition:
    """`valid_loss<1.2`."""

    name: str
    compare: Callable[[float, float], bool]
    value: float

    @classmethod
    def parse(cls, text: str) -> "MetricCondition":
        """Read a name, one of < <= = >= >, and a number.

        Raises:
            InvalidSearchError: it is anything else.
        """
        match = _METRIC.fullmatch(text)
        try:
            value = float(match[3]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or math.isnan(value):
            raise InvalidSearchError("metric", f"{text[:80]!r} is not of the form valid_loss<1.2; use < <= = >= or >")
        return cls(name=match[1].strip(), compare=_OPERATORS[match[2]], value=value)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Conditions that one and the same ready version fulfils; none: every version does."""

    tags: tuple[str, ...] = ()
    """`key`, or `key=value`."""
    base: str | None = None
    """Name or digest."""
    text: str | None = None
    """A part of the adapter's name, or of a tag's key or value; upper and lower case are the same."""
    metrics: tuple[MetricCondition, ...] = ()
    job_id: str | None = None
    data_digest: str | None = None

    def __post_init__(self) -> None:
        for param, count in (("tag", len(self.tags)), ("metric", len(self.metrics))):
            if count > MAX_CONDITIONS:
                raise InvalidSearchError(param, f"{count} conditions are more than the limit of {MAX_CONDITIONS}")
        for param, texts in (("tag", self.tags), ("text", (self.text or "",)), ("base", (self.base or "",))):
            if any(len(text) > MAX_TEXT_CHARS for text in texts):
                raise InvalidSearchError(param, f"it has more than {MAX_TEXT_CHARS} characters, the limit")


@dataclass(frozen=True, kw_only=True)
class Found:
    """An adapter with a version that fulfils the search."""

    adapter: Adapter
    matches: tuple[Version, ...]
    """The versions that do, newest first."""


@dataclass(frozen=True, kw_only=True)
class FoundPage:
    """Adapters by name."""

    data: tuple[Found, ...]
    has_more: bool


def find(registry: Registry, tenant: str, search: Search, limit: int, after: str | None = None) -> FoundPage:
    """The tenant's adapters of which a ready version fulfils the search, by name.

    Args:
        registry: where to look.
        tenant: whose.
        search: the conditions.
        limit: at most so many.
        after: only names that come after this one.
    """
    found: list[Found] = []
    fitting = _fitting(tenant, search)
    live = select(VersionRow.adapter_id).where(VersionRow.id.in_(fitting))
    query = select(AdapterRow).where(AdapterRow.id.in_(live)).order_by(AdapterRow.name).limit(_BATCH)
    with registry.database.reading() as session:
        while len(found) <= limit:
            batch = session.scalars(query if after is None else query.where(AdapterRow.name > after)).all()
            found += _found(registry, session, batch, fitting, search)
            if len(batch) < _BATCH:
                break
            after = batch[-1].name
    return FoundPage(data=tuple(found[:limit]), has_more=len(found) > limit)


def _fitting(tenant: str, search: Search) -> Select[int]:
    """Ids of the versions that fit, as far as the database can tell: databases differ in how they read JSON."""
    mine = select(AdapterRow.id).where(AdapterRow.tenant == tenant)
    versions = select(VersionRow.id).where(VersionRow.state == READY, VersionRow.adapter_id.in_(mine))
    if search.base is not None:
        versions = versions.where(or_(VersionRow.base_name == search.base, VersionRow.base_digest == search.base))
    if search.job_id is not None:
        versions = versions.where(VersionRow.job_id == search.job_id)
    if search.data_digest is not None:
        versions = versions.where(VersionRow.data_digest == search.data_digest)
    for tag in search.tags:
        key, equals, value = tag.partition("=")
        tagged = select(TagRow.version_id).where(TagRow.key == key)
        versions = versions.where(VersionRow.id.in_(tagged.where(TagRow.value == value) if equals else tagged))
    if search.text is not None:
        text = search.text.lower()
        named = mine.where(AdapterRow.name.contains(text, autoescape=True))
        told = or_(TagRow.key.contains(text, autoescape=True), func.lower(TagRow.value).contains(text, autoescape=True))
        tagged = select(TagRow.version_id).where(told)
        versions = versions.where(or_(VersionRow.adapter_id.in_(named), VersionRow.id.in_(tagged)))
    return versions


def _found(
    registry: Registry,
    session: Session,
    adapters: Sequence[AdapterRow],
    fitting: Select[int],
    search: Search,
) -> list[Found]:
    ids = [adapter.id for adapter in adapters]
    rows = session.scalars(select(VersionRow).where(VersionRow.id.in_(fitting), VersionRow.adapter_id.in_(ids)))
    fit = {(row.adapter_id, row.number) for row in rows if _good_enough(row, search)}
    by_name = {adapter.name: adapter.id for adapter in adapters}
    found = []
    for adapter in registry.view(session, adapters):
        matches = [each for each in adapter.versions if (by_name[adapter.name], each.number) in fit]
        if matches:
            found.append(Found(adapter=adapter, matches=tuple(matches)))
    return found


def _good_enough(row: VersionRow, search: Search) -> bool:
    """A metric that a version lacks fulfils nothing."""
    return all(
        condition.name in row.metrics and condition.compare(row.metrics[condition.name], condition.value)
        for condition in search.metrics
    )
