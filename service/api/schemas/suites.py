"""`/suites`: named sets of cases, versioned by digest."""

from collections.abc import Sequence
from typing import Literal

from pydantic import JsonValue

from evaluation.suites.store import StoredSuite
from service.api.schemas.schema import Reply
from service.api.schemas.times import unix


class SuiteReply(Reply):
    """One version of a suite."""

    id: str
    """`name@sha256:…`; requests may name it so, or by its beginning."""
    object: Literal["suite"] = "suite"
    name: str
    digest: str
    created_at: int
    """When it was last added; the newest version is what the bare name means."""
    description: str
    tags: list[str]
    num_cases: int
    scorers: list[str]
    thresholds: dict[str, float]

    @classmethod
    def of(cls, stored: StoredSuite) -> "SuiteReply":
        """Of a version."""
        suite = stored.suite
        return cls(
            id=f"{stored.name}@{stored.digest}",
            name=stored.name,
            digest=stored.digest,
            created_at=unix(stored.created_at),
            description=suite.description,
            tags=list(suite.tags),
            num_cases=stored.num_cases,
            scorers=[scorer.name for scorer in suite.scorers],
            thresholds=dict(suite.thresholds),
        )


class SuiteWithCases(SuiteReply):
    """One version of a suite with all it holds."""

    content: dict[str, JsonValue]
    """The suite as its digest is taken of it; `POST /suites` takes it again."""

    @classmethod
    def of(cls, stored: StoredSuite) -> "SuiteWithCases":
        """Of a version."""
        return cls(**SuiteReply.of(stored).model_dump(), content=stored.suite.to_json())


class SuiteList(Reply):
    """The newest version of each name, or all versions of one, newest first."""

    object: Literal["list"] = "list"
    data: list[SuiteReply]

    @classmethod
    def of(cls, found: Sequence[StoredSuite]) -> "SuiteList":
        """Of what was found."""
        return cls(data=[SuiteReply.of(stored) for stored in found])


class SuiteDeleted(Reply):
    """What is gone; runs that it was used for stay as they are."""

    object: Literal["suite"] = "suite"
    name: str
    deleted: list[str]
    """Digests."""
