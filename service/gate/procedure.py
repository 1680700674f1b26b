"""What a server does for checks. Each step is one transaction that looks at the check's state first.

Killed anywhere and begun again, by this server or another one, a check has each evaluation made once and moves its
alias at most once: the move, its place in the history and the check's end are written together.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from adapters import aliases as moves
from adapters.errors import AdapterError, AliasMovedError, UnknownAliasError
from adapters.events import REFUSE, Happening, remember
from adapters.manifest import ASSUMED
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.rows import find_adapter
from adapters.version import Change, Version
from evaluation.errors import EvaluationError
from evaluation.gate.decision import Decision, decide
from evaluation.gate.policy import BASE
from evaluation.gate.text import to_text
from evaluation.runs.changes import insert
from evaluation.runs.errors import TooManyRunsError
from evaluation.runs.run import NewRun
from evaluation.runs.runs import Runs
from evaluation.suites.contents import keep
from evaluation.suites.store import StoredSuite, Suites
from service.gate.asking import end
from service.gate.gate import GateCheck
from service.gate.outcomes import outcomes_of
from service.gate.tables import GateCheckRow
from storage.clock import now_of

_log = logging.getLogger(__name__)

ACTOR = "gate"
"""Who moves aliases by policy, in an adapter's history."""


Prepare = Callable[[str, StoredSuite, tuple[str | None, ...], str], NewRun]
"""Of a tenant, a suite, references (None is the base) and an actor: the evaluation, pinned and checked."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What evaluations run on."""

    base_digest: str
    prepare: Prepare


class Procedure:
    """Begins and settles checks. Safe for threads and processes."""

    def __init__(self, registry: Registry, runs: Runs, suites: Suites) -> None:
        self._registry = registry
        self._database = registry.database
        self._runs = runs
        self._suites = suites

    def advance(self, check: GateCheck, bench: Bench) -> bool:
        """Does the next step of a check, if its time has come; whether anything was done.

        Raises:
            StorageError: the database or the store is away; the check stays as it is.
        """
        try:
            return self._begin(check, bench) if check.status == "waiting" else self._settle(check)
        except TooManyRunsError:
            # Its turn comes when others have ended.
            return False
        except (AdapterError, EvaluationError) as error:
            return self.fail(check, str(error))

    def fail(self, check: GateCheck, reason: str) -> bool:
        """Ends a check undecided; the alias stays where it is, and the history says why."""
        _log.warning("%s on %s@%s: %s", check.id, check.adapter, check.alias, reason)
        decision = Decision(promote=False, reason=f"not decided: {reason}", findings=())
        return self._write(check, decision, undecided=True)

    def _begin(self, check: GateCheck, bench: Bench) -> bool:
        candidate = self._registry.resolve(check.tenant, Reference(name=check.adapter, number=check.candidate))
        if candidate.base_digest not in (bench.base_digest, ASSUMED):
            # A server of that base begins.
            return False
        current = self._aliased(check, check.alias)
        if current is not None and current.number == candidate.number:
            return self.fail(check, f"{check.adapter}@{check.alias} points to {current.reference} already")
        # Before anything is rendered: this is asked again every second while there is no room.
        self._runs.check_room(check.tenant, len(check.policy.all_suites))
        models, positions = self._models(check, candidate, current)
        suites = [self._suites.get(check.tenant, name) for name in check.policy.all_suites]
        prepared = [bench.prepare(check.tenant, suite, models, f"{ACTOR} {check.id}") for suite in suites]
        with self._database.session() as session:
            self._database.serialise(session, f"evaluation runs of {check.tenant}")
            row = session.get_one(GateCheckRow, check.id, with_for_update=True)
            if row.status != "waiting":
                return False
            now = now_of(session)
            runs: list[JsonValue] = []
            for suite, new in zip(suites, prepared, strict=True):
                keep(self._database, session, check.tenant, suite.suite)
                run = insert(session, check.tenant, new, now, max_open=self._runs.max_open)
                runs.append({"suite": suite.name, "run_id": run.id})
            row.status, row.runs, row.models = "evaluating", runs, {**positions}
            row.expected = moves.NOWHERE if current is None else current.number
        return True

    def _models(
        self, check: GateCheck, candidate: Version, current: Version | None
    ) -> tuple[tuple[str | None, ...], Mapping[str, int]]:
        """The candidate first; then what it is held against, each content once, and where each reference is.

        Raises:
            UnknownAliasError: the policy names another alias, which does not exist.
        """
        found: dict[str | None, str | None] = {candidate.digest: str(candidate.reference)}
        positions: dict[str, int] = {}
        for reference in check.policy.references:
            if reference == check.alias:
                # One that does not exist yet: the candidate must be better than nothing, which is the base.
                version = current
            else:
                version = None if reference == BASE else self._resolved(check, reference)
            digest, model = (None, None) if version is None else (version.digest, str(version.reference))
            found.setdefault(digest, model)
            positions[reference] = list(found).index(digest)
        return tuple(found.values()), positions

    def _aliased(self, check: GateCheck, alias: str) -> Version | None:
        try:
            return self._resolved(check, alias)
        except UnknownAliasError:
            return None

    def _resolved(self, check: GateCheck, alias: str) -> Version:
        return self._registry.resolve(check.tenant, Reference(name=check.adapter, alias=alias))

    def _settle(self, check: GateCheck) -> bool:
        runs = [self._runs.get(check.tenant, run.run_id) for run in check.runs]
        if not all(run.ended for run in runs):
            return False
        for run in runs:
            if run.status != "completed":
                return self.fail(check, f"evaluation {run.id} is {run.status}: {run.error or 'no reason was given'}")
        outcomes = [
            outcomes_of(
                self._runs.results(check.tenant, run.id),
                check.models,
                name=each.suite,
                thresholds=self._suites.content(check.tenant, run.suite.digest).thresholds,
            )
            for each, run in zip(check.runs, runs, strict=True)
        ]
        return self._write(check, decide(check.policy, outcomes))

    def _write(self, check: GateCheck, decision: Decision, *, undecided: bool = False) -> bool:
        """The move or the refusal, its place in the history and the check's end: all of it or nothing."""
        with self._registry.writing() as session:
            row = session.get_one(GateCheckRow, check.id, with_for_update=True)
            if row.status != check.status:
                return False
            now, said = now_of(session), decision.to_json()
            findings = None if undecided else list(decision.findings)
            told = None if findings is None else [finding.to_json() for finding in findings]
            change = Change(actor=ACTOR, reason=decision.reason, details={**_details(check), **said})
            try:
                adapter = find_adapter(session, check.tenant, check.adapter)
                if decision.promote:
                    move = moves.Move(alias=check.alias, number=check.candidate, expected=check.expected)
                    moves.point(session, adapter, move, change)
                    end(row, "promoted", decision.reason, now, told)
                    return True
            except AliasMovedError as error:
                change = Change(actor=ACTOR, reason=f"refused: {error}", details=change.details)
            except AdapterError as error:
                end(row, "failed", f"not decided: {error}", now, told)
                return True
            happening = Happening(
                kind=REFUSE,
                alias=check.alias,
                from_number=check.expected or None,
                number=check.candidate,
                job_id=check.job_id,
            )
            remember(session, adapter, happening, change)
            end(row, "failed" if undecided else "refused", change.reason, now, told)
            return True


def open_procedure(registry: Registry) -> Procedure:
    """The procedure over a registry, whose database has runs and suites too."""
    return Procedure(registry, Runs(registry.database), Suites(registry.database))


def _details(check: GateCheck) -> dict[str, Any]:
    return {
        "gate": check.id,
        "policy": to_text(check.policy),
        "evaluations": {run.suite: run.run_id for run in check.runs},
        "asked_by": check.actor,
        "job_id": check.job_id,
    }
