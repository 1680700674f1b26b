"""Answers that become cases of a suite."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from corpus.messages import Message
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.store import StoredSuite, Suites
from evaluation.suites.suite import Suite, SuiteCase

FIRST_SCORERS = (ScorerSpec("exact_match"), ScorerSpec("rouge_l"))
"""Of a suite that begins with a saved case."""


def case_of(
    messages: Sequence[Message],
    completion: str,
    tags: Sequence[str] = (),
    fields: Mapping[str, JsonValue] | None = None,
) -> SuiteCase:
    """A conversation and what should be said in it."""
    return SuiteCase(
        messages=tuple(dict(message) for message in messages),
        completion=completion,
        tags=tuple(tags),
        fields=fields or {},
    )


def save(suites: Suites, tenant: str, name: str, cases: Sequence[SuiteCase]) -> StoredSuite:
    """Adds cases to the newest version of a suite, which makes another version; a new name begins a suite.

    Raises:
        InvalidSuiteError: the suite's scorers cannot measure a case.
        TooManySuitesError: as many versions are kept as may be.
    """
    return suites.append(tenant, Suite(name=name, description="Saved answers", scorers=FIRST_SCORERS), cases)
