"""What jobs leave behind that no run clears away: its worker was killed, or the job ended while nobody had it."""

import logging
import shutil
from pathlib import Path

from service.jobs.queue import Queue
from service.jobs.stored_run import drop_run
from storage.errors import StorageError
from storage.objects.store import ObjectStore

_log = logging.getLogger(__name__)


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
        for job in queue.ended_with_state():
            drop_run(objects, job)
            queue.forget_state(job)
    except StorageError as error:
        _log.warning("what jobs left behind is cleared later: %s", error)
