"""What a worker would have written."""

from datetime import UTC, datetime

from service.jobs.tables import JobEventRow
from storage.database import Database
from tests.service.api.conftest import Running


def say(server: Running, job: str, count: int, first: int = 1) -> None:
    """Lets a job say `line N`, `count` times from N = `first`."""
    database: Database = server.client.app_state["lorad"].registry.database
    with database.session() as session:
        for number in range(first, first + count):
            session.add(
                JobEventRow(
                    job_id=job,
                    created_at=datetime.now(UTC),
                    level="info",
                    type="metrics",
                    message=f"line {number}",
                    data={"step": number},
                )
            )
            session.flush()
