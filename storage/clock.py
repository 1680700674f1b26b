"""The time by which processes on several machines compare what they have written."""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def now_of(session: Session) -> datetime:
    """The database's clock where it has one of its own: workers on several machines compare leases by it."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)
