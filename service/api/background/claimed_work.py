"""Work of minutes that waits in the database: taken up by its claim, held while it is done, stopped by its id."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from service.api.background.long_work import Stop
from service.api.background.watcher import Watcher
from service.api.errors.mapping import problem_of
from service.api.process.lifecycle import Lifecycle
from service.engine.errors import EngineClosedError, QueueFullError
from service.inference.inference import Inference
from storage.errors import StorageUnavailableError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""The database is asked so often for what waits: another server may have taken it in, or been lost with it."""


class Claim(Protocol):
    """A server's hold on a piece of work."""

    @property
    def id(self) -> str:
        """The work's."""

    @property
    def token(self) -> int:
        """Rises with each claim on the same work."""


ClaimT = TypeVar("ClaimT", bound=Claim)


class Claims(Protocol[ClaimT]):
    """Hands work out and takes down what becomes of it. Each method but `claim` may find that the claim is over."""

    def claim(self, base_digest: str) -> ClaimT | None:
        """The work for that base that has waited longest, held; None if none waits."""

    def renew(self, claim: ClaimT) -> None:
        """Holds it for another lease."""

    def release(self, claim: ClaimT) -> None:
        """Lets it wait again."""

    def fail(self, claim: ClaimT, message: str) -> None:
        """Nothing will come of it as it is."""


class ClaimedWork(Generic[ClaimT]):
    """Carries out what waits, a little at once. Safe for threads.

    Args:
        noun: what is done, in the plural; names the threads.
        claims: where it waits.
        carry_out: does one piece and writes down how it has ended; `Stop.check` tells it to leave off.
        stale: what `claims` and `carry_out` raise where the claim is over.
        lifecycle: what answers, once it is loaded.
        limit: pieces at once.
        lease_seconds: after which others take a piece up whose server is not heard of.
    """

    def __init__(
        self,
        noun: str,
        claims: Claims[ClaimT],
        carry_out: Callable[[Inference, ClaimT, Stop], object],
        *,
        stale: type[Exception],
        lifecycle: Lifecycle,
        limit: int,
        lease_seconds: float,
    ) -> None:
        self._claims = claims
        self._carry_out = carry_out
        self._stale = stale
        self._lifecycle = lifecycle
        self._limit = limit
        self._lock = threading.Lock()
        self._held: dict[str, tuple[ClaimT, Stop]] = {}
        """By claim: what was cancelled and resumed is begun again before its first doing has noticed the end."""
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=f"background-{noun}")
        self._doing: set[Future[bool]] = set()
        self._closed = False
        self._watcher = Watcher(noun, self._look, seconds=min(_LOOK_SECONDS, lease_seconds / 3))

    def start(self) -> None:
        """Begins to look for what waits."""
        self._watcher.start()

    def wake(self) -> None:
        """A piece waits: there is no need to wait for the next look."""
        self._watcher.wake()

    def stop(self, work_id: str) -> None:
        """Ends one here that is cancelled; does nothing where it is carried out elsewhere."""
        with self._lock:
            stops = [stop for claim, stop in self._held.values() if claim.id == work_id]
        for stop in stops:
            stop.cancel()

    @contextmanager
    def holding(self, claim: ClaimT, stop: Stop) -> Iterator[None]:
        """Renews a claim for as long as this lasts; one that is over meanwhile stops the work."""
        key = f"{claim.id}/{claim.token}"
        with self._lock:
            self._held[key] = claim, stop
        try:
            yield
        finally:
            with self._lock:
                del self._held[key]

    def failed(self, claim: ClaimT, error: Exception) -> None:
        """Writes down what has ended a piece, for its owner; nothing where the claim is over or the database away."""
        problem = problem_of(error)
        if problem.status >= 500:
            _log.error("%s failed", claim.id, exc_info=error)
        try:
            self._claims.fail(claim, problem.message)
        except self._stale as over:
            _log.info("%s", over)
        except StorageUnavailableError as away:
            _log.warning("%s waits until its lease is over: %s", claim.id, away)

    def close(self) -> None:
        """Takes up nothing more; what runs stops where it next looks, and waits for the next server."""
        self._watcher.close()
        with self._lock:
            self._closed = True
            stops = [stop for _, stop in self._held.values()]
        for stop in stops:
            stop.cancel()
        self._pool.shutdown(wait=False)

    def join(self, seconds: float) -> None:
        """Waits until nothing of it uses the database any more, but no longer than so many seconds a step."""
        self._watcher.join(seconds)
        with self._lock:
            doing = set(self._doing)
        wait(doing, timeout=seconds)

    def _look(self) -> None:
        with self._lock:
            held = list(self._held.values())
        for claim, stop in held:
            try:
                self._claims.renew(claim)
            except self._stale:
                stop.cancel()
        self._take_up()

    def _take_up(self) -> None:
        inference = self._lifecycle.opened
        if inference is None or self._lifecycle.phase != "ready":
            return
        while self._has_room():
            claim = self._claims.claim(inference.base.digest)
            if claim is None:
                return
            self._begin(inference, claim)

    def _has_room(self) -> bool:
        with self._lock:
            return not self._closed and len(self._doing) < self._limit

    def _begin(self, inference: Inference, claim: ClaimT) -> None:
        stop = Stop()
        with self._lock:
            doing = None if self._closed else self._pool.submit(self._done, inference, claim, stop)
            if doing is not None:
                self._doing.add(doing)
        if doing is None:
            self._claims.release(claim)
            return
        # Outside the lock: where the work has ended by now, this thread calls it.
        doing.add_done_callback(self._ended)

    def _done(self, inference: Inference, claim: ClaimT, stop: Stop) -> bool:
        """Whether the place may be given to the next at once."""
        with self.holding(claim, stop):
            try:
                self._carry_out(inference, claim, stop)
            except self._stale as error:
                _log.info("%s", error)
            except (EngineClosedError, QueueFullError):
                # Its turn comes again: after the restart, or at a later look, when requests have left the engine room.
                self._claims.release(claim)
                return False
            except StorageUnavailableError as error:
                _log.warning("%s waits until its lease is over: %s", claim.id, error)
            except Exception as error:  # noqa: BLE001 - the last place where its owner can be told
                self.failed(claim, error)
        return True

    def _ended(self, doing: "Future[bool]") -> None:
        with self._lock:
            self._doing.discard(doing)
        error = doing.exception()
        if error is not None:
            _log.error("work in the background ended with an error", exc_info=error)
        elif doing.result():
            self._watcher.wake()
