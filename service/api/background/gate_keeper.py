"""Leads candidates through gates: one thread that begins evaluations and decides when they have ended."""

import logging

from service.api.background.watcher import Watcher
from service.api.process.lifecycle import Lifecycle
from service.gate.bench import open_bench
from service.gate.gates import Gates
from service.gate.procedure import Procedure
from service.settings import Settings
from storage.errors import StorageUnavailableError

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Jobs on other machines ask for checks, and servers of other machines end evaluations."""


class GateKeeper(Watcher):
    """Looks for checks that wait or whose evaluations have ended.

    Args:
        gates: where checks are.
        procedure: what is done for them.
        lifecycle: the base that evaluations run on, once it is loaded.
        settings: bounds of evaluations.
    """

    def __init__(self, gates: Gates, procedure: Procedure, lifecycle: Lifecycle, settings: Settings) -> None:
        super().__init__("gates", self._advance, seconds=_LOOK_SECONDS)
        self._gates = gates
        self._procedure = procedure
        self._lifecycle = lifecycle
        self._settings = settings

    def _advance(self) -> None:
        inference = self._lifecycle.opened
        if inference is None or self._lifecycle.phase != "ready":
            return
        bench = open_bench(self._settings, inference)
        for check in self._gates.open_checks():
            try:
                self._procedure.advance(check, bench)
            except StorageUnavailableError:
                raise
            except Exception:  # noqa: BLE001 - one check must not keep the others from theirs
                _log.exception("%s failed", check.id)
                self._procedure.fail(check, "the server failed in an unforeseen way; its log has the details")
