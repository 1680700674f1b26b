"""A claim on a run, renewed while one answer takes longer than a lease."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from evaluation.runs.claims import RunClaim, RunClaims
from evaluation.runs.errors import StaleRunError
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_BEATS = 3
"""In a lease."""


@contextmanager
def renewed(claims: RunClaims, claim: RunClaim, lease_seconds: float) -> Iterator[None]:
    """Renews the claim for the time of the block, on a thread of its own.

    One that is over is not told here: whoever stores an answer under it is.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease_seconds / _BEATS):
            try:
                claims.renew(claim)
            except StaleRunError:
                return
            except StorageError as error:
                _log.warning("%s could not be renewed: %s", claim.id, error)

    thread = threading.Thread(target=renew, name=f"{claim.id}-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
