"""A run's checkpoints in the object store, so that a worker on any machine goes on from the newest one.

    jobs/TENANT/JOB/TOKEN/step-N/FILE   one object a file, written once
    jobs/TENANT/JOB/TOKEN/state-N.json  {"step-N": "jobs/…/step-N"}: all that belongs to the run after step N

A claim writes under its own token only. The job's row names the newest state; what it does not lead to may go.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from service.jobs.queue import Claim
from storage.durable import flush_tree
from storage.objects.store import ObjectStore

_CHECKPOINTS = "checkpoints"


class StoredRun:
    """One claim's view of its job's objects.

    Args:
        objects: where they lie.
        claim: whose token the keys bear.
        output: the trainer's folder.
    """

    def __init__(self, objects: ObjectStore, claim: Claim, output: Path) -> None:
        self._objects = objects
        self._job = claim.job
        self._token = claim.token
        self._root = _root(claim.job.tenant, claim.job.id)
        self._prefix = f"{self._root}{claim.token}"
        self._folder = output / _CHECKPOINTS
        self._stored: dict[str, str] = {}

    def fetch(self, state_key: str | None) -> None:
        """Brings the checkpoints of an earlier claim into the trainer's folder.

        Raises:
            StorageError: the store is away, or lacks what the job's row names.
        """
        if state_key is None:
            return
        with self._objects.open(state_key) as file:
            self._stored = json.loads(file.read())
        for name, prefix in self._stored.items():
            for key in self._objects.keys(f"{prefix}/"):
                target = self._folder / name / key.removeprefix(f"{prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                with self._objects.open(key) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
        if self._folder.exists():
            flush_tree(self._folder)

    def store(self, step: int) -> str:
        """Keeps what the trainer's folder holds after `step`; gives the key to write into the job's row.

        Raises:
            StorageError: the store is full or away; nothing that the row names is touched.
        """
        stored = {}
        for folder in sorted(self._folder.iterdir()):
            # Hidden ones are being written; and the trainer may drop an old one at any moment.
            if not folder.name.startswith("."):
                with suppress(FileNotFoundError):
                    stored[folder.name] = self._stored.get(folder.name) or self._upload(folder)
        self._stored = stored
        state_key = f"{self._prefix}/state-{step}.json"
        if not self._objects.exists(state_key):
            with self._objects.write(state_key) as file:
                file.write(json.dumps(self._stored).encode())
        return state_key

    def drop_unused(self, state_key: str) -> None:
        """Deletes what the state does not lead to; what a later claim wrote stays.

        Raises:
            StorageError: the store is away.
        """
        kept = tuple(f"{prefix}/" for prefix in self._stored.values())
        for key in list(self._objects.keys(self._root)):
            if key != state_key and not key.startswith(kept) and not self._is_later(key):
                self._objects.delete(key)

    def drop_all(self) -> None:
        """Deletes the job's objects: it has ended.

        Raises:
            StorageError: the store is away.
        """
        drop_run(self._objects, self._job.tenant, self._job.id)

    def _is_later(self, key: str) -> bool:
        """Whether a later claim wrote it: this one may have ended since it wrote its own state."""
        token = key.removeprefix(self._root).partition("/")[0]
        return token.isdecimal() and int(token) > self._token

    def _upload(self, folder: Path) -> str:
        prefix = f"{self._prefix}/{folder.name}"
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            key = f"{prefix}/{file.relative_to(folder).as_posix()}"
            # An attempt that the store interrupted may have written some of them.
            if not self._objects.exists(key):
                with file.open("rb") as source, self._objects.write(key) as target:
                    shutil.copyfileobj(source, target)
        return prefix


def drop_run(objects: ObjectStore, tenant: str, job_id: str) -> None:
    """Deletes what is kept of a job that has ended.

    Raises:
        StorageError: the store is away.
    """
    for key in list(objects.keys(_root(tenant, job_id))):
        objects.delete(key)


def _root(tenant: str, job_id: str) -> str:
    return f"jobs/{tenant}/{job_id}/"
