"""Stored evaluations on this server's engine: taken up from the database, held while they run, stopped by their id."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from evaluation.runs.claims import RunClaim
from evaluation.runs.errors import StaleRunError
from evaluation.runs.run import Run
from service.api.background import Background
from service.api.error_mapping import problem_of
from service.api.lifecycle import Lifecycle
from service.api.long_work import Stop
from service.engine.errors import EngineClosedError, QueueFullError
from service.evaluation_run import Desk, carry_out
from service.inference import Inference
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""The database is asked so often for runs that wait: another server may have taken them in, or been lost with them."""


class EvaluationRunner:
    """Carries runs out, some in the background and some for requests that wait.

    Args:
        desk: where runs are.
        lifecycle: what answers, once it is loaded.
        limit: runs in the background at once.
        lease_seconds: after which others take a run up whose server is not heard of.
    """

    def __init__(self, desk: Desk, lifecycle: Lifecycle, *, limit: int, lease_seconds: float) -> None:
        self._desk = desk
        self._lifecycle = lifecycle
        self._limit = limit
        self._background = Background("evaluations", limit=limit, max_waiting=0)
        self._look_seconds = min(_LOOK_SECONDS, lease_seconds / 3)
        self._lock = threading.Lock()
        self._held: dict[str, tuple[RunClaim, Stop]] = {}
        """By claim: a run that was cancelled and resumed is begun again before its first work has noticed the end."""
        self._woken, self._closed = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._watching, name="evaluation-runs", daemon=True)

    def start(self) -> None:
        """Begins to look for runs that wait."""
        self._watch.start()

    def wake(self) -> None:
        """A run waits: there is no need to wait for the next look."""
        self._woken.set()

    def stop(self, run_id: str) -> None:
        """Ends a run here that is cancelled; does nothing where it is carried out elsewhere."""
        with self._lock:
            stops = [stop for claim, stop in self._held.values() if claim.run.id == run_id]
        for stop in stops:
            stop.cancel()

    def now(self, inference: Inference, claim: RunClaim, stop: Stop) -> Run:
        """Carries a run out while somebody waits for it; whatever ends it early is written down.

        Raises:
            StaleRunError: it was cancelled meanwhile.
            EngineClosedError: whoever waited has gone, or the server shuts down: then the run goes on later.
        """
        with self._holding(claim, stop):
            try:
                return carry_out(self._desk, inference, claim, stop.check)
            except EngineClosedError:
                self._give_up(claim)
                raise
            except Exception as error:
                if not isinstance(error, StaleRunError):
                    self._fail(claim, error)
                raise

    def close(self) -> None:
        """Takes up nothing more; what runs stops where it next looks, and waits for the next server."""
        self._closed.set()
        self._woken.set()
        self._background.close()

    def _watching(self) -> None:
        while not self._closed.is_set():
            self._woken.wait(self._look_seconds)
            self._woken.clear()
            try:
                self._renew()
                self._take_up()
            except (StorageError, EngineClosedError) as error:
                # The leases have seconds left, and the next look may find the database again.
                _log.warning("waiting evaluations could not be looked for: %s", error)

    def _renew(self) -> None:
        with self._lock:
            held = list(self._held.values())
        for claim, stop in held:
            try:
                self._desk.claims.renew(claim)
            except StaleRunError:
                stop.cancel()

    def _take_up(self) -> None:
        if self._lifecycle.phase != "ready":
            return
        inference = self._lifecycle.inference()
        while len(self._background.ids) < self._limit:
            claim = self._desk.claims.claim(inference.base.digest)
            if claim is None:
                return
            try:
                self._background.start(_key(claim), partial(self._later, inference, claim))
            except EngineClosedError:
                self._desk.claims.release(claim)
                raise

    def _later(self, inference: Inference, claim: RunClaim, stop: Stop) -> None:
        with self._holding(claim, stop):
            try:
                carry_out(self._desk, inference, claim, stop.check)
            except StaleRunError as error:
                _log.info("%s", error)
            except (EngineClosedError, QueueFullError):
                # Its turn comes again: after the restart, or when requests have left the engine some room.
                self._desk.claims.release(claim)
            except StorageError as error:
                _log.warning("%s waits until its lease is over: %s", claim.run.id, error)
            except Exception as error:  # noqa: BLE001 - the last place where its owner can be told
                self._fail(claim, error)
        self.wake()

    def _give_up(self, claim: RunClaim) -> None:
        if self._lifecycle.phase == "draining":
            self._desk.claims.release(claim)
            return
        try:
            self._desk.claims.cancel(claim)
        except StaleRunError:
            _log.info("%s was cancelled already", claim.run.id)

    def _fail(self, claim: RunClaim, error: Exception) -> None:
        problem = problem_of(error)
        if problem.status >= 500:
            _log.error("%s failed", claim.run.id, exc_info=error)
        self._desk.claims.fail(claim, problem.message)

    @contextmanager
    def _holding(self, claim: RunClaim, stop: Stop) -> Iterator[None]:
        with self._lock:
            self._held[_key(claim)] = claim, stop
        try:
            yield
        finally:
            with self._lock:
                del self._held[_key(claim)]


def _key(claim: RunClaim) -> str:
    return f"{claim.run.id}/{claim.token}"
