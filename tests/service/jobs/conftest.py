from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.files.tables import FileRow
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.jobs.queue import Queue, QueueLimits
from service.jobs.request import JobRequest
from storage.database import Database
from tests.service.jobs.workplace import Workplace

MODEL = "tiny"
FILE = "file-0"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database, max_jobs=8)


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database, QueueLimits(lease_seconds=60, max_running=2, max_attempts=3))


@pytest.fixture
def short_queue(database: Database) -> Queue:
    """Leases are over as soon as they are given."""
    return Queue(database, QueueLimits(lease_seconds=0, max_running=2, max_attempts=3))


@pytest.fixture
def make_job(database: Database, jobs: Jobs) -> Callable[..., Job]:
    def make(tenant: str = "acme", **fields: Any) -> Job:
        file_id = f"{FILE}-{tenant}"
        with database.session() as session:
            if session.get(FileRow, file_id) is None:
                session.add(
                    FileRow(
                        id=file_id, tenant=tenant, filename="rows.jsonl", purpose="fine-tune", bytes=1, digest="0" * 64,
                        created_at=datetime.now(UTC), status="processed",
                    )
                )  # fmt: skip
        key = fields.pop("idempotency_key", None)
        request = JobRequest.model_validate({"model": MODEL, "training_file": file_id, **fields})
        return jobs.create(tenant, request, idempotency_key=key)

    return make


@pytest.fixture
def make_workplace(tmp_path: Path, tiny_base_folder: Path) -> Iterator[Callable[..., Workplace]]:
    made: list[Workplace] = []

    def make(**fields: Any) -> Workplace:
        made.append(Workplace(tmp_path / "home", tiny_base_folder, **fields))
        return made[-1]

    yield make
    for workplace in made:
        workplace.registry.database.dispose()


@pytest.fixture
def place(make_workplace: Callable[..., Workplace]) -> Workplace:
    return make_workplace()
