"""A file and the jobs that read it, from several threads at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from service.files.errors import FileInUseError, UnknownFileError
from service.files.files import Files
from service.jobs.jobs import Jobs
from service.jobs.request import JobRequest
from storage.database import Database
from storage.objects.local import LocalObjects
from tests.service.files.conftest import ROWS

_TURNS = 20


def test_no_job_is_left_without_its_file(database: Database, objects: LocalObjects, tmp_path: Path) -> None:
    jobs = Jobs(database, max_jobs=100)
    files = Files(database, objects, cache=tmp_path / "cache", max_bytes=1000, max_files=100, uses=jobs.uses)
    for _ in range(_TURNS):
        file_id = files.create("acme", "train.jsonl", "fine-tune", [ROWS]).id
        request = JobRequest.model_validate({"model": "tiny", "training_file": file_id})
        together = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            creating = pool.submit(_succeeds, partial(jobs.create, "acme", request), UnknownFileError, together)
            deleting = pool.submit(_succeeds, partial(files.delete, "acme", file_id), FileInUseError, together)
        created, deleted = creating.result(), deleting.result()
        # Exactly one of the two.
        assert created != deleted
        assert [file.id for file in files.list("acme").data] == ([] if deleted else [file_id])
        for job in jobs.list("acme").data:
            jobs.cancel("acme", job.id)
        if created:
            files.delete("acme", file_id)


def _succeeds(work: Callable[[], object], refusal: type[Exception], together: threading.Barrier) -> bool:
    together.wait(60)
    try:
        work()
    except refusal:
        return False
    return True
