"""Opens the jobs that the settings name, and a worker for them."""

from collections.abc import Callable

import psutil

from adapters.registry import Registry
from service.files.opening import open_files
from service.jobs.bench import Bench
from service.jobs.jobs import Jobs
from service.jobs.launcher import Launcher
from service.jobs.local_launcher import LocalLauncher
from service.jobs.publisher import Publisher
from service.jobs.queue import Queue, QueueLimits
from service.jobs.webhooks import Webhooks
from service.jobs.worker import Worker
from service.settings import Settings
from storage.database import Database
from storage.objects.opening import open_objects


def open_jobs(settings: Settings, database: Database) -> Jobs:
    """The jobs of `settings`, in a migrated database."""
    return Jobs(database, max_jobs=settings.max_jobs)


def open_worker(settings: Settings, registry: Registry, *, slots: int, launcher: Launcher | None = None) -> Worker:
    """A worker of this process.

    Args:
        settings: where files are, and its bounds.
        registry: the one of `settings`, whose database holds the jobs.
        slots: jobs at once.
        launcher: where trainers run; None: in processes of this machine.

    Raises:
        SettingsError: the webhook's secret is malformed.
        StorageError: the store cannot be reached.
    """
    bench = open_bench(settings, registry, launcher)
    return Worker(bench, slots=slots, webhooks=_webhooks(settings, registry.database))


def open_bench(settings: Settings, registry: Registry, launcher: Launcher | None = None) -> Bench:
    """What the runs of a worker work with; arguments and errors as of `open_worker`."""
    database = registry.database
    limits = QueueLimits(lease_seconds=settings.lease_seconds, max_running=settings.max_running_jobs)
    return Bench(
        queue=Queue(database, limits),
        launcher=launcher or local_launcher(settings),
        files=open_files(settings, database, open_jobs(settings, database).uses),
        objects=open_objects(settings.objects),
        registry=registry,
        publisher=Publisher(registry, settings),
        settings=settings,
        short_of_memory=_memory_watch(settings.min_free_memory_bytes),
    )


def local_launcher(settings: Settings) -> LocalLauncher:
    """Trainers as processes of this machine."""
    return LocalLauncher(settings.job_workspaces / "logs")


def _memory_watch(floor_bytes: int) -> Callable[[], bool]:
    def short() -> bool:
        return bool(floor_bytes) and psutil.virtual_memory().available < floor_bytes

    return short


def _webhooks(settings: Settings, database: Database) -> Webhooks | None:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return Webhooks(database, settings.webhook_url, settings.webhook_secret.get_secret_value())
