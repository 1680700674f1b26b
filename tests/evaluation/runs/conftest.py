"""Runs in a database of their own, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from evaluation.results import CaseResult, ModelResult
from evaluation.runs.claims import NewCase, RunClaims
from evaluation.runs.run import NewRun, RunModel, SuiteIdentity
from evaluation.runs.runs import Runs
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GenerationSettings
from evaluation.suites.contents import keep
from evaluation.suites.suite import Suite, SuiteCase
from storage.database import Database

TENANT = "acme"
BASE = "sha256:" + "b" * 64
VERSION = "sha256:" + "a" * 64
MODELS = (
    RunModel(asked=None, model="tiny", digest=BASE),
    RunModel(asked="support@prod", model="support:3", digest=VERSION),
)


def make_suite(name: str = "tickets", cases: int = 2) -> Suite:
    """A suite of so many cases."""
    return Suite(
        name=name,
        scorers=(ScorerSpec("exact_match"),),
        cases=tuple(SuiteCase(prompt=f"question {n}", completion=f"answer {n}") for n in range(cases)),
    )


def new_run(suite: Suite, *, base: str = BASE) -> NewRun:
    """Both models on a suite."""
    return NewRun(
        suite=SuiteIdentity(name=suite.name, digest=suite.digest, num_cases=len(suite.cases)),
        models=MODELS,
        scorers=(ScorerSpec("regex", {"pattern": "a+"}),),
        generation=GenerationSettings(max_tokens=7, stop=("\n",)),
        base_digest=base,
        actor="key of acme",
    )


def case(position: int, index: int, score: float = 1.0, error: str | None = None) -> NewCase:
    """What one model gave."""
    result = CaseResult(
        index=index,
        text=f"answer {index}",
        finish_reason="stop",
        tokens=3,
        seconds=0.5,
        scores={} if error else {"exact_match": score},
        details={"predicted": "x"},
        findings=("too_short",),
        error=error,
    )
    return NewCase(position=position, result=result)


def result_of(position: int, cases: list[NewCase]) -> ModelResult:
    """A model's result over some of the cases."""
    mine = tuple(each.result for each in cases if each.position == position)
    return ModelResult(
        model=MODELS[position].model,
        metrics={"exact_match": 0.5},
        cases=mine,
        prompt_tokens=4,
        completion_tokens=6,
        labelled_tokens=0,
        tokens_per_second=None,
    )


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    opened.migrate()
    yield opened
    opened.dispose()


@pytest.fixture
def suite(database: Database) -> Suite:
    """Stored, for two tenants."""
    made = make_suite()
    for tenant in (TENANT, "other"):
        with database.session() as session:
            keep(database, session, tenant, made)
    return made


@pytest.fixture
def runs(database: Database) -> Runs:
    return Runs(database, max_open=3)


@pytest.fixture
def claims(database: Database) -> RunClaims:
    return RunClaims(database, server="here", lease_seconds=60, max_open=3)


@pytest.fixture
def lapsed(database: Database) -> RunClaims:
    """Of a server whose leases are over as soon as they are given."""
    return RunClaims(database, server="lost", lease_seconds=-1, max_open=3)
