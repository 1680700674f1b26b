"""The contents of suites, which stay while a name or a run needs them."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from evaluation.runs.tables import RunRow
from evaluation.suites.suite import Suite
from evaluation.suites.tables import SuiteContentRow, SuiteRow
from storage.database import Database


def keep(database: Database, session: Session, tenant: str, suite: Suite) -> None:
    """Stores what a suite holds; what is stored under its digest already is the same.

    Nobody drops it before the transaction ends, in which the name or run that needs it is written.
    """
    database.serialise(session, _lock(tenant))
    if session.get(SuiteContentRow, (tenant, suite.digest)) is None:
        row = SuiteContentRow(tenant=tenant, digest=suite.digest, num_cases=len(suite.cases), content=suite.to_json())
        session.add(row)
        session.flush()


def drop_unused(database: Database, session: Session, tenant: str, digest: str) -> None:
    """Removes a content that no name and no run needs any more."""
    database.serialise(session, _lock(tenant))
    named = exists().where(SuiteRow.tenant == tenant, SuiteRow.digest == digest)
    run = exists().where(RunRow.tenant == tenant, RunRow.suite_digest == digest)
    if not session.scalar(select(named | run)):
        content = session.get(SuiteContentRow, (tenant, digest))
        if content is not None:
            session.delete(content)


def _lock(tenant: str) -> str:
    return f"suites of {tenant}"
