"""A worker: claims jobs while it has a free slot, and runs each on a thread of its own."""

import logging
import os
import secrets
import socket
import threading
import time
from datetime import datetime

from service.jobs.bench import Bench
from service.jobs.leftovers import clear_leftovers, sweep_stores
from service.jobs.run import JobRun
from service.jobs.webhooks import Webhooks
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
_CLEAR_SECONDS = 600.0
_SWEEP_SECONDS = 6 * 3600.0
"""The stores are listed for it, which costs money in some."""
_AWAY_SECONDS = 2.0
"""Between attempts to reach a database that is away."""


class Worker:
    """Runs jobs until it is told to leave; then it lets its trainers write a checkpoint and puts the jobs back.

    Args:
        bench: what its runs work with.
        slots: jobs at once.
        webhooks: messages to be sent meanwhile, if there is a webhook.
    """

    def __init__(self, bench: Bench, *, slots: int, webhooks: Webhooks | None = None) -> None:
        self._bench = bench
        self._slots = slots
        self._webhooks = webhooks
        self._leaving = threading.Event()
        self._leases: dict[str, datetime | None] = {}
        """Of jobs that others have, as first seen."""
        # A process number alone would be the same in two containers.
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def leave(self) -> None:
        """Asks it to end; thread-safe, also from a signal handler."""
        self._leaving.set()

    def run(self, *, until_idle: bool = False) -> None:
        """Works until `leave`, or with `until_idle` until no job waits: none queued, none whose worker is gone."""
        runs: list[threading.Thread] = []
        done = threading.Event()
        attendant = threading.Thread(target=self._attend, args=(done,), name="attendance")
        # A thread of its own: a receiver or store that does not answer must not keep jobs waiting.
        attendant.start()
        while not self._leaving.is_set():
            runs = [run for run in runs if run.is_alive()]
            took = len(runs) < self._slots and self._take(runs)
            if until_idle and not (took or runs) and self._is_idle():
                break
            if not took:
                self._leaving.wait(_IDLE_SECONDS)
        for run in runs:
            run.join()
        done.set()
        attendant.join()

    def _is_idle(self) -> bool:
        """Whether nothing will have to be done here: jobs that others have are renewed by them."""
        try:
            outlook = self._bench.queue.outlook()
        except StorageError:
            return False
        renewed = all(self._leases.setdefault(job_id, until) != until for job_id, until in outlook.leases.items())
        return not outlook.num_queued and renewed

    def _take(self, runs: list[threading.Thread]) -> bool:
        if self._bench.short_of_memory():
            return False
        try:
            claim = self._bench.queue.claim(self.name)
        except StorageError as error:
            _log.warning("no job can be claimed: %s", error)
            self._leaving.wait(_AWAY_SECONDS)
            return False
        except Exception:  # noqa: BLE001
            # Other jobs run here: one that cannot even be claimed must not end them.
            _log.exception("no job can be claimed")
            self._leaving.wait(_AWAY_SECONDS)
            return False
        if claim is None:
            return False
        _log.info("job %s of %s is claimed, token %d", claim.job.id, claim.job.tenant, claim.token)
        run = threading.Thread(target=JobRun(self._bench, claim, self._leaving).run, name=claim.job.id)
        run.start()
        runs.append(run)
        return True

    def _attend(self, done: threading.Event) -> None:
        """Sends what webhooks are owed, once more after `done`, and now and then clears away what dead workers left."""
        bench, clear_at, sweep_at, last = self._bench, 0.0, 0.0, False
        while not last:
            last = done.wait(_IDLE_SECONDS)
            try:
                if self._webhooks is not None:
                    self._webhooks.send_due()
                if time.monotonic() >= clear_at:
                    clear_at = time.monotonic() + _CLEAR_SECONDS
                    clear_leftovers(bench.queue, bench.objects, bench.settings.job_workspaces)
                if time.monotonic() >= sweep_at:
                    sweep_at = time.monotonic() + _SWEEP_SECONDS
                    sweep_stores(bench.registry, bench.files, bench.objects)
            except StorageError as error:
                _log.warning("webhooks wait: %s", error)
            except Exception:  # noqa: BLE001 - the next may fare better
                _log.exception("webhooks wait, or leftovers stay")
