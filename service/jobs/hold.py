"""Keeps a claim, on a thread of its own: an upload that takes longer than a lease must not lose the job."""

import logging
import threading
import time
from types import TracebackType

from service.jobs.errors import StaleClaimError
from service.jobs.launcher import Running
from service.jobs.queue import Claim, Queue, Wanted
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_BEATS = 6
"""In a lease: so many may fail before the job is given up."""
_RETRY_SECONDS = 1.0
"""Between attempts to reach a database that is away."""
_LEASH = 0.6
_LATE = 0.3
"""Parts of a lease. A trainer lives for `_LEASH` after it was renewed, which is at most `_LATE` after the lease began,
so it is dead before somebody else may begin."""


class Hold:
    """A claim that is renewed until it is let go or lost; a context manager.

    Args:
        queue: where the claim is from.
        claim: just made.
    """

    def __init__(self, queue: Queue, claim: Claim) -> None:
        self._queue = queue
        self.claim = claim
        self._lease_seconds = queue.limits.lease_seconds
        self._held_at = time.monotonic()
        self._trainer: Running | None = None
        self._beating = threading.Lock()
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{claim.job.id}-hold", daemon=True)
        self.wanted: Wanted = "run"
        """By the job's owner, as of the last renewal."""

    @property
    def leash_seconds(self) -> float:
        """How long a trainer may live that is not renewed."""
        return _LEASH * self._lease_seconds

    def __enter__(self) -> "Hold":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Renews it no more."""
        self._done.set()

    def keep(self, trainer: Running | None) -> None:
        """Renews the trainer with the claim from now on; None when it has ended."""
        self._trainer = trainer

    def check(self) -> None:
        """Passes while the job is held.

        Raises:
            StaleClaimError: it is lost.
        """
        # Not only by what the thread has seen: it may be waiting for a database that does not answer.
        if self._lost.is_set() or time.monotonic() - self._held_at > self._lease_seconds:
            raise StaleClaimError(self.claim.job.id, self.claim.token)

    def renew(self) -> None:
        """Renews the claim now, and returns when the renewal is fresh.

        Raises:
            StaleClaimError: the claim is over.
            StorageError: the database is away.
        """
        while not self._renew():
            self.check()

    def _run(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            pause = self._lease_seconds / _BEATS
            try:
                if not self._renew():
                    pause = 0
                self.check()
            except StaleClaimError:
                self._lost.set()
                # At once: whoever follows the trainer may be busy with an upload.
                trainer = self._trainer
                if trainer is not None and not self._done.is_set():
                    trainer.kill()
                return
            except StorageError as error:
                _log.warning("job %s: the database is away: %s", self.claim.job.id, error)
                pause = _RETRY_SECONDS
            except Exception:  # noqa: BLE001 - the thread must live as long as the job
                _log.exception("job %s could not be renewed", self.claim.job.id)
                pause = _RETRY_SECONDS

    def _renew(self) -> bool:
        """Whether the answer came soon enough for the trainer to live on by it."""
        with self._beating:
            asked = time.monotonic()
            self.wanted = self._queue.heartbeat(self.claim)
            self._held_at = asked
            if time.monotonic() - asked > _LATE * self._lease_seconds:
                return False
            trainer = self._trainer
            if trainer is not None:
                trainer.renew()
            return True
