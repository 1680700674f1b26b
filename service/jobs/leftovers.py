"""What is left behind that nobody clears away at once: a worker, an upload or a publication was killed on its way."""

import logging
import shutil
from pathlib import Path

from adapters.registry import Registry
from service.files.files import Files
from service.jobs.queue import Queue
from service.jobs.stored_run import drop_run
from storage.errors import StorageError
from storage.objects.store import ObjectStore

_log = logging.getLogger(__name__)


_ABANDONED_SECONDS = 24 * 3600.0
"""After which nobody is on the way any more with what has no row."""


def clear_leftovers(queue: Queue, objects: ObjectStore, workspaces: Path) -> None:
    """Deletes objects of ended jobs, and this machine's workspaces that no claim holds; what cannot go now stays.

    Args:
        queue: says what jobs and claims there are.
        objects: where checkpoints are kept.
        workspaces: `JOB/TOKEN` folders of this machine's workers.
    """
    # Listed before the queue is asked: a folder is made after its claim, so one that is in use is never taken for old.
    folders = [folder for folder in workspaces.glob("ftjob-*/*") if folder.name.isdecimal()]
    try:
        for folder in folders:
            if not queue.holds(folder.parent.name, int(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)
        for tenant, job_id in queue.ended_with_state():
            drop_run(objects, tenant, job_id)
            queue.forget_state(job_id)
    except StorageError as error:
        _log.warning("what jobs left behind is cleared later: %s", error)


def sweep_stores(registry: Registry, files: Files, objects: ObjectStore) -> None:
    """Deletes what lies in the stores for a day and no row names; what cannot go now stays.

    Args:
        registry: of adapter versions, with the store of their folders.
        files: what jobs train on.
        objects: where both lie.
    """
    try:
        registry.sweep(_ABANDONED_SECONDS)
        files.sweep(_ABANDONED_SECONDS)
        files.sweep_objects(_ABANDONED_SECONDS)
        objects.sweep(_ABANDONED_SECONDS)
    except StorageError as error:
        _log.warning("what was left in the stores is cleared later: %s", error)
