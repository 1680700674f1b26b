"""Stored generations on this server's engine: taken up from the database, held while they run, stopped by their id."""

import logging
import threading
from functools import partial

from service.api.background import Background
from service.api.error_mapping import problem_of
from service.api.lifecycle import Lifecycle
from service.api.long_work import Stop
from service.engine.errors import EngineClosedError, QueueFullError
from service.generation.claims import GenerationClaim
from service.generation.desk import GenerationDesk
from service.generation.errors import StaleGenerationError
from service.inference import Inference
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""The database is asked so often for generations that wait: another server may have been lost with them."""


class GenerationRunner:
    """Carries generations out in the background.

    Args:
        desk: where generations are.
        lifecycle: what answers, once it is loaded.
        limit: how many at once.
        lease_seconds: after which others take one up whose server is not heard of.
    """

    def __init__(self, desk: GenerationDesk, lifecycle: Lifecycle, *, limit: int, lease_seconds: float) -> None:
        self._desk = desk
        self._lifecycle = lifecycle
        self._limit = limit
        self._background = Background("generations", limit=limit, max_waiting=0)
        self._look_seconds = min(_LOOK_SECONDS, lease_seconds / 3)
        self._lock = threading.Lock()
        self._held: dict[str, GenerationClaim] = {}
        self._woken, self._closed = threading.Event(), threading.Event()
        self._watch = threading.Thread(target=self._watching, name="generations", daemon=True)

    def start(self) -> None:
        """Begins to look for generations that wait."""
        self._watch.start()

    def wake(self) -> None:
        """One waits: there is no need to wait for the next look."""
        self._woken.set()

    def stop(self, generation_id: str) -> None:
        """Ends one here that is cancelled; does nothing where it is carried out elsewhere."""
        self._background.cancel(generation_id)

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
                _log.warning("waiting generations could not be looked for: %s", error)

    def _renew(self) -> None:
        with self._lock:
            held = list(self._held.values())
        for claim in held:
            try:
                self._desk.claims.renew(claim)
            except StaleGenerationError:
                self._background.cancel(claim.generation.id)

    def _take_up(self) -> None:
        if self._lifecycle.phase != "ready":
            return
        inference = self._lifecycle.inference()
        while len(self._background.ids) < self._limit:
            claim = self._desk.claims.claim(inference.base.digest)
            if claim is None:
                return
            try:
                self._background.start(claim.generation.id, partial(self._carried_out, inference, claim))
            except EngineClosedError:
                self._desk.claims.release(claim)
                raise

    def _carried_out(self, inference: Inference, claim: GenerationClaim, stop: Stop) -> None:
        with self._lock:
            self._held[claim.generation.id] = claim
        try:
            self._desk.carry_out(inference, claim, partial(_look, stop))
        except StaleGenerationError as error:
            _log.info("%s", error)
        except (EngineClosedError, QueueFullError):
            # Its turn comes again: after the restart, or when requests have left the engine some room.
            self._desk.claims.release(claim)
        except StorageError as error:
            _log.warning("%s waits until its lease is over: %s", claim.generation.id, error)
        except Exception as error:  # noqa: BLE001 - the last place where its owner can be told
            self._fail(claim, error)
        finally:
            with self._lock:
                del self._held[claim.generation.id]
        self.wake()

    def _fail(self, claim: GenerationClaim, error: Exception) -> None:
        problem = problem_of(error)
        if problem.status >= 500:
            _log.error("%s failed", claim.generation.id, exc_info=error)
        self._desk.claims.end(claim, "failed", error=problem.message)


def _look(stop: Stop) -> bool:
    stop.check(0, 0)
    return False
