"""Every tenant's suites: versions by digest, under names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evaluation.suites.check import check
from evaluation.suites.contents import drop_unused, keep
from evaluation.suites.errors import TooManySuitesError, UnknownSuiteError
from evaluation.suites.suite import NAME, Suite, SuiteCase
from evaluation.suites.tables import SuiteContentRow, SuiteRow
from storage.clock import now_of
from storage.database import Database

_DEFAULT_MAX_SUITES = 1000
_REFERENCE = re.compile(rf"(?P<name>{NAME.pattern})(?:@(?P<digest>sha256:[0-9a-f]{{8,64}}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class StoredSuite:
    """One version of a suite."""

    name: str
    digest: str
    created_at: datetime
    """When it was last added: the newest version is what the bare name means."""
    num_cases: int
    suite: Suite


class Suites:
    """Adds, finds and deletes. Every method sees one tenant only; safe for threads and processes.

    Args:
        database: where rows are.
        max_suites: versions of a tenant's suites.
    """

    def __init__(self, database: Database, *, max_suites: int = _DEFAULT_MAX_SUITES) -> None:
        self._database = database
        self._max_suites = max_suites

    def add(self, tenant: str, suite: Suite) -> StoredSuite:
        """Makes this the newest version of the suite's name; one that was added before becomes the newest again.

        Raises:
            TooManySuitesError: as many versions are kept as may be.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"suites of {tenant}")
            return self._add(session, tenant, suite)

    def append(self, tenant: str, start: Suite, cases: Sequence[SuiteCase]) -> StoredSuite:
        """Adds cases to the newest version of a suite, which makes another version; `start` where there is none yet.

        Raises:
            InvalidSuiteError: the suite's scorers cannot measure a case.
            TooManySuitesError: as many versions are kept as may be.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"suites of {tenant}")
            try:
                known = _content(session, tenant, _find(session, tenant, start.name).digest)
            except UnknownSuiteError:
                known = start
            suite = replace(known, cases=(*known.cases, *cases))
            check(suite)
            return self._add(session, tenant, suite)

    def get(self, tenant: str, reference: str) -> StoredSuite:
        """The newest version of `name`, or the one that `name@sha256:…` begins to spell.

        Raises:
            UnknownSuiteError: there is none, or several begin so.
        """
        with self._database.reading() as session:
            row = _find(session, tenant, reference)
            return _stored(row, _content(session, tenant, row.digest))

    def content(self, tenant: str, digest: str) -> Suite:
        """What was stored under a digest, also for a run whose suite has no name any more.

        Raises:
            UnknownSuiteError: nothing is.
        """
        with self._database.reading() as session:
            return _content(session, tenant, digest)

    def list(self, tenant: str, name: str | None = None) -> Sequence[StoredSuite]:
        """The newest version of each name, by name; or all versions of one name, newest first.

        Raises:
            UnknownSuiteError: there is none of that name.
        """
        query = select(SuiteRow).where(SuiteRow.tenant == tenant)
        if name is not None:
            query = query.where(SuiteRow.name == name)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(SuiteRow.name, SuiteRow.created_at.desc(), SuiteRow.id.desc())).all()
            if name is not None and not rows:
                raise UnknownSuiteError(name)
            newest = {row.name: row for row in reversed(rows)}
            chosen = rows if name is not None else [newest[each] for each in sorted(newest)]
            return [_stored(row, _content(session, tenant, row.digest)) for row in chosen]

    def delete(self, tenant: str, reference: str) -> Sequence[str]:
        """Forgets a name with all its versions, or one version; what runs have found with it stays.

        Returns:
            The digests that the name no longer has.

        Raises:
            UnknownSuiteError: there is none.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"suites of {tenant}")
            found = _find(session, tenant, reference)
            if "@" in reference:
                rows: Sequence[SuiteRow] = [found]
            else:
                rows = session.scalars(
                    select(SuiteRow).where(SuiteRow.tenant == tenant, SuiteRow.name == found.name)
                ).all()
            for row in rows:
                session.delete(row)
            session.flush()
            for row in rows:
                drop_unused(self._database, session, tenant, row.digest)
            return [row.digest for row in rows]

    def _add(self, session: Session, tenant: str, suite: Suite) -> StoredSuite:
        now = now_of(session)
        row = _version(session, tenant, suite.name, suite.digest)
        if row is None:
            count = session.scalar(select(func.count()).select_from(SuiteRow).where(SuiteRow.tenant == tenant))
            if (count or 0) >= self._max_suites:
                raise TooManySuitesError(self._max_suites)
            keep(self._database, session, tenant, suite)
            row = SuiteRow(tenant=tenant, name=suite.name, digest=suite.digest, created_at=now)
            session.add(row)
        row.created_at = now
        session.flush()
        return _stored(row, suite)


def _find(session: Session, tenant: str, reference: str) -> SuiteRow:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UnknownSuiteError(reference)
    query = select(SuiteRow).where(SuiteRow.tenant == tenant, SuiteRow.name == match["name"])
    if match["digest"] is None:
        newest = session.scalar(query.order_by(SuiteRow.created_at.desc(), SuiteRow.id.desc()).limit(1))
        if newest is None:
            raise UnknownSuiteError(reference)
        return newest
    found = session.scalars(query.where(SuiteRow.digest.startswith(match["digest"])).limit(2)).all()
    if len(found) != 1:
        raise UnknownSuiteError(reference)
    return found[0]


def _version(session: Session, tenant: str, name: str, digest: str) -> SuiteRow | None:
    return session.scalar(
        select(SuiteRow).where(SuiteRow.tenant == tenant, SuiteRow.name == name, SuiteRow.digest == digest)
    )


def _content(session: Session, tenant: str, digest: str) -> Suite:
    row = session.get(SuiteContentRow, (tenant, digest))
    if row is None:
        raise UnknownSuiteError(digest)
    return Suite.of(row.content)


def _stored(row: SuiteRow, suite: Suite) -> StoredSuite:
    return StoredSuite(
        name=row.name, digest=row.digest, created_at=row.created_at, num_cases=len(suite.cases), suite=suite
    )
