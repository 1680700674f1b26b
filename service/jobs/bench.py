"""What every run of a worker works with."""

from collections.abc import Callable
from dataclasses import dataclass

from adapters.registry import Registry
from service.files.files import Files
from service.jobs.launcher import Launcher
from service.jobs.publisher import Publisher
from service.jobs.queue import Queue
from service.settings import Settings
from storage.objects.store import ObjectStore


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A worker's queue, places and means, which all its runs share."""

    queue: Queue
    launcher: Launcher
    files: Files
    objects: ObjectStore
    registry: Registry
    publisher: Publisher
    settings: Settings
    short_of_memory: Callable[[], bool]
