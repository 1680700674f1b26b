"""Every tenant's gates and their checks as the API changes and reads them; `procedure` is the server's side."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from adapters.reference import check_name
from evaluation.errors import EvaluationError, GateError
from evaluation.gate.policy import Policy
from evaluation.suites.check import metrics_of
from evaluation.suites.store import Suites
from service.gate.asking import MAX_ACTOR_CHARS, ask, check_of
from service.gate.errors import TooManyGatesError, UnknownCheckError, UnknownGateError
from service.gate.gate import ENDED, Gate, GateCheck
from service.gate.tables import GateCheckRow, GateRow
from service.page import Page
from storage.clock import now_of
from storage.database import Database

_log = logging.getLogger(__name__)

_MAX_GATES = 1000
_MAX_OPEN = 100


class Gates:
    """Sets, lists and asks. Every method sees one tenant only; safe for threads and processes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._suites = Suites(database)

    def set(self, tenant: str, adapter: str, policy: Policy, actor: str) -> Gate:
        """Puts a policy on its alias, in the place of one that is there; checks that run go on by the old one.

        Raises:
            InvalidNameError: adapter or alias is not well formed.
            GateError: the policy names no suite, or a metric that its suites do not give.
            UnknownSuiteError: there is none of that name.
            TooManyGatesError: the tenant keeps as many as may be.
        """
        check_name(adapter)
        check_name(policy.alias, "alias")
        if not policy.all_suites:
            raise GateError("the policy names no suite to run: write 'on SUITE' or give suites")
        policy.check_measured({name: metrics_of(self._suites.get(tenant, name).suite) for name in policy.all_suites})
        with self._database.session() as session:
            self._database.serialise(session, f"gates of {tenant}")
            now, row = now_of(session), session.get(GateRow, (tenant, adapter, policy.alias))
            if row is None:
                count = select(func.count()).select_from(GateRow).where(GateRow.tenant == tenant)
                if (session.scalar(count) or 0) >= _MAX_GATES:
                    raise TooManyGatesError("gates are kept", _MAX_GATES)
                row = GateRow(tenant=tenant, adapter=adapter, alias=policy.alias)
                session.add(row)
            row.policy, row.actor, row.updated_at = policy.to_json(), actor[:MAX_ACTOR_CHARS], now
            session.flush()
            return _gate_of(row)

    def get(self, tenant: str, adapter: str, alias: str) -> Gate:
        """The gate on an alias.

        Raises:
            UnknownGateError: there is none.
        """
        with self._database.reading() as session:
            return _gate_of(_find(session, tenant, adapter, alias))

    def list(self, tenant: str, adapter: str | None = None) -> list[Gate]:
        """All gates, or those of one adapter, by adapter and alias."""
        query = select(GateRow).where(GateRow.tenant == tenant)
        if adapter is not None:
            query = query.where(GateRow.adapter == adapter)
        with self._database.reading() as session:
            return [_gate_of(row) for row in session.scalars(query.order_by(GateRow.adapter, GateRow.alias))]

    def delete(self, tenant: str, adapter: str, alias: str) -> None:
        """Takes the gate off an alias; its checks stay, and those that run go on.

        Raises:
            UnknownGateError: there is none.
        """
        with self._database.session() as session:
            session.delete(_find(session, tenant, adapter, alias))

    def ask(self, tenant: str, adapter: str, alias: str, candidate: int, actor: str) -> GateCheck:
        """Puts a version before the gate; on return that is durable. One that stands before it already stays.

        Raises:
            UnknownGateError: there is no gate.
            TooManyGatesError: as many checks of the tenant wait as may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"gates of {tenant}")
            gate = _find(session, tenant, adapter, alias)
            open_checks = select(GateCheckRow).where(GateCheckRow.tenant == tenant, GateCheckRow.status.not_in(ENDED))
            waiting = session.scalars(open_checks).all()
            for row in waiting:
                if (row.adapter, row.alias, row.candidate) == (adapter, alias, candidate):
                    return check_of(row)
            if len(waiting) >= _MAX_OPEN:
                raise TooManyGatesError("checks of gates wait or run", _MAX_OPEN)
            return check_of(ask(session, gate, candidate, now_of(session), actor=actor))

    def check(self, tenant: str, adapter: str, alias: str, check_id: str) -> GateCheck:
        """One check of a gate.

        Raises:
            UnknownCheckError: the gate had none of that id.
        """
        with self._database.reading() as session:
            row = _find_check(session, tenant, check_id)
            if (row.adapter, row.alias) != (adapter, alias):
                raise UnknownCheckError(check_id)
            return check_of(row)

    def checks(
        self, tenant: str, adapter: str, alias: str | None = None, *, after: str | None = None, limit: int = 20
    ) -> Page[GateCheck]:
        """An adapter's checks, or those of one alias, newest first, from the one after `after`.

        Raises:
            UnknownCheckError: there is no check `after`.
        """
        query = select(GateCheckRow).where(GateCheckRow.tenant == tenant, GateCheckRow.adapter == adapter)
        if alias is not None:
            query = query.where(GateCheckRow.alias == alias)
        with self._database.reading() as session:
            if after is not None:
                cursor = _find_check(session, tenant, after)
                place = tuple_(GateCheckRow.created_at, GateCheckRow.id)
                query = query.where(place < (cursor.created_at, cursor.id))
            query = query.order_by(GateCheckRow.created_at.desc(), GateCheckRow.id.desc()).limit(limit + 1)
            return Page.of([check_of(row) for row in session.scalars(query)], limit)

    def open_checks(self) -> Sequence[GateCheck]:
        """Of all tenants, those that have not ended, oldest first."""
        query = select(GateCheckRow).where(GateCheckRow.status.not_in(ENDED)).order_by(GateCheckRow.created_at)
        with self._database.reading() as session:
            return list(_readable(session.scalars(query)))


def _readable(rows: Iterable[GateCheckRow]) -> Iterator[GateCheck]:
    """One that another version of lorad wrote must not keep the others from their turn."""
    for row in rows:
        try:
            yield check_of(row)
        except (EvaluationError, ValueError, KeyError) as error:
            _log.error("%s cannot be read: %s", row.id, error)


def _gate_of(row: GateRow) -> Gate:
    return Gate(
        tenant=row.tenant,
        adapter=row.adapter,
        alias=row.alias,
        policy=Policy.of(row.policy),
        actor=row.actor,
        updated_at=row.updated_at,
    )


def _find(session: Session, tenant: str, adapter: str, alias: str) -> GateRow:
    row = session.get(GateRow, (tenant, adapter, alias))
    if row is None:
        raise UnknownGateError(adapter, alias)
    return row


def _find_check(session: Session, tenant: str, check_id: str) -> GateCheckRow:
    row = session.get(GateCheckRow, check_id)
    if row is None or row.tenant != tenant:
        raise UnknownCheckError(check_id)
    return row
