"""Leads candidates through gates: one thread that begins evaluations and decides when they have ended."""

import logging
import threading

from service.api.lifecycle import Lifecycle
from service.gate.bench import open_bench
from service.gate.gates import Gates
from service.gate.procedure import Procedure
from service.settings import Settings
from storage.errors import StorageError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Jobs on other machines ask for checks, and servers of other machines end evaluations."""
_END_SECONDS = 10


class GateKeeper:
    """Looks for checks that wait or whose evaluations have ended.

    Args:
        gates: where checks are.
        procedure: what is done for them.
        lifecycle: the base that evaluations run on, once it is loaded.
        settings: bounds of evaluations.
    """

    def __init__(self, gates: Gates, procedure: Procedure, lifecycle: Lifecycle, settings: Settings) -> None:
        self._gates = gates
        self._procedure = procedure
        self._lifecycle = lifecycle
        self._settings = settings
        self._woken, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watching, name="gate-keeper", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def wake(self) -> None:
        """A check waits: there is no need to wait for the next look."""
        self._woken.set()

    def close(self) -> None:
        """Looks no more; what is half-way goes on with the next server."""
        self._closed.set()
        self._woken.set()
        if self._thread.is_alive():
            # The database is closed next.
            self._thread.join(_END_SECONDS)

    def _watching(self) -> None:
        while not self._closed.is_set():
            self._woken.wait(_LOOK_SECONDS)
            self._woken.clear()
            if self._closed.is_set() or self._lifecycle.phase != "ready":
                continue
            try:
                self._look()
            except StorageError as error:
                _log.warning("gates could not be looked at: %s", error)

    def _look(self) -> None:
        inference = self._lifecycle.opened
        if inference is None:
            return
        bench = open_bench(self._settings, inference)
        for check in self._gates.open_checks():
            try:
                self._procedure.advance(check, bench)
            except StorageError:
                raise
            except Exception:  # noqa: BLE001 - one check must not keep the others from theirs
                _log.exception("%s failed", check.id)
                self._procedure.fail(check, "the server failed in an unforeseen way; its log has the details")
