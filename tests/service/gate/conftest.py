"""A registry with versions that are rows only, suites, and evaluations whose outcome a test writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.registry import Registry
from adapters.tables import READY, AdapterRow, VersionRow
from evaluation.gate.text import parse
from evaluation.results import CaseResult, ModelResult
from evaluation.runs.claims import NewCase, RunClaims
from evaluation.runs.run import NewRun, RunModel, SuiteIdentity
from evaluation.runs.runs import Runs
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.store import StoredSuite, Suites
from evaluation.suites.suite import Suite, SuiteCase
from service.gate.gate import GateCheck
from service.gate.gates import Gates
from service.gate.procedure import Bench, Procedure
from storage.database import Database
from storage.folders import FolderStore

TENANT = "acme"
BASE_DIGEST = "sha256:" + "b" * 64
POLICY = "promote to prod if exact_match >= prod and no suite drops > 1 point"
NUM_CASES = 10


def prepare(tenant: str, suite: StoredSuite, models: tuple[str | None, ...], actor: str) -> NewRun:
    """As the service does, without an engine."""
    assert tenant == TENANT
    return NewRun(
        suite=SuiteIdentity(name=suite.name, digest=suite.digest, num_cases=suite.num_cases),
        models=tuple(RunModel(asked=model, model=model or "tiny", digest="sha256:0") for model in models),
        scorers=(),
        generation=suite.suite.generation,
        base_digest=BASE_DIGEST,
        actor=actor,
    )


BENCH = Bench(base_digest=BASE_DIGEST, prepare=prepare)


@dataclass(frozen=True)
class GateHouse:
    """What a server has for gates."""

    registry: Registry
    gates: Gates
    runs: Runs
    suites: Suites
    claims: RunClaims
    procedure: Procedure

    def publish(self, name: str = "support", *, base_digest: str = BASE_DIGEST) -> int:
        """The next version, without files."""
        with self.registry.writing() as session:
            adapter = session.query(AdapterRow).filter_by(tenant=TENANT, name=name).one_or_none()
            if adapter is None:
                adapter = AdapterRow(tenant=TENANT, name=name, next_number=1, created_at=datetime.now(UTC))
                session.add(adapter)
                session.flush()
            number = adapter.next_number
            adapter.next_number += 1
            session.add(
                VersionRow(
                    adapter_id=adapter.id, number=number, digest=f"sha256:{number:064x}", base_digest=base_digest,
                    base_name="tiny", rank=4, size_bytes=1, state=READY, created_at=datetime.now(UTC), source="train",
                    metrics={}, lineage={},
                )
            )  # fmt: skip
        return number

    def set(self, policy: str = POLICY, suites: Sequence[str] = ("tickets",)) -> None:
        """A gate on `support@prod`, with suites that exist."""
        for suite in suites:
            self.suites.add(TENANT, make_suite(suite))
        read = parse(policy)
        self.gates.set(TENANT, "support", read.model_copy(update={"suites": tuple(suites)}), "ann")

    def ask(self, number: int) -> GateCheck:
        return self.gates.ask(TENANT, "support", "prod", number, "ann")

    def advance(self, check: GateCheck) -> GateCheck:
        self.procedure.advance(check, BENCH)
        return self.get(check)

    def get(self, check: GateCheck) -> GateCheck:
        return self.gates.check(TENANT, check.adapter, check.alias, check.id)

    def evaluate(self, right: Mapping[str, int], *, broken: str | None = None) -> None:
        """Ends every evaluation that waits: so many of ten answers of each model are right.

        Args:
            right: by model.
            broken: an error that the last case of each model has instead of a score.
        """
        while self.evaluate_next(right, broken=broken):
            pass

    def evaluate_next(self, right: Mapping[str, int], *, broken: str | None = None) -> bool:
        """Ends the evaluation that has waited longest; False if none waits."""
        claim = self.claims.claim(BASE_DIGEST)
        if claim is None:
            return False
        results = [model_result(model.model, right[model.model], broken=broken) for model in claim.run.models]
        for position, result in enumerate(results):
            cases = [NewCase(position=position, result=case) for case in result.cases]
            self.claims.record(claim, cases)
        self.claims.finish(claim, results)
        return True

    def points_to(self, alias: str = "prod") -> int | None:
        return self.registry.adapter(TENANT, "support").aliases.get(alias)


def make_suite(name: str) -> Suite:
    return Suite(
        name=name,
        scorers=(ScorerSpec("exact_match"),),
        cases=tuple(SuiteCase(prompt=f"question {n}", completion=f"answer {n} {name}") for n in range(NUM_CASES)),
        thresholds={"exact_match": 0.5},
    )


def model_result(model: str, right: int, *, broken: str | None = None) -> ModelResult:
    cases = tuple(
        CaseResult(
            index=index,
            text="an answer",
            finish_reason="stop",
            scores={"exact_match": float(index < right)} if broken is None or index < NUM_CASES - 1 else {},
            error=broken if index == NUM_CASES - 1 else None,
        )
        for index in range(NUM_CASES)
    )
    return ModelResult(
        model=model,
        metrics={"exact_match": right / NUM_CASES},
        cases=cases,
        prompt_tokens=1,
        completion_tokens=1,
        labelled_tokens=0,
        tokens_per_second=None,
    )


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[GateHouse]:
    database = Database(database_url)
    database.migrate()
    yield make_house(database, tmp_path)
    database.dispose()


def make_house(database: Database, folder: Path) -> GateHouse:
    registry = Registry(database, FolderStore(folder / "adapters"))
    runs, suites = Runs(database), Suites(database)
    return GateHouse(
        registry=registry,
        gates=Gates(database),
        runs=runs,
        suites=suites,
        claims=RunClaims(database, server="here", lease_seconds=60, max_open=runs.max_open),
        procedure=Procedure(registry, runs, suites),
    )
