"""Where adapter versions are, as their replies show it."""

from dataclasses import dataclass

from adapters.version import Version
from service.api.state import ServerState
from service.engine.residency.residency import Placement
from service.inference.inference import Inference


@dataclass(frozen=True)
class Place:
    """Where one version is."""

    residency: Placement
    pinned: bool


class Places:
    """Where versions are now; all in the store while no engine runs."""

    def __init__(self, inference: Inference | None) -> None:
        self._engine = None if inference is None else inference.engine
        self._pinned = frozenset() if self._engine is None else frozenset(self._engine.pinned())

    @classmethod
    def now(cls, state: ServerState) -> "Places":
        """Of a running server."""
        return cls(state.lifecycle.opened)

    def __getitem__(self, version: Version) -> Place:
        if self._engine is None:
            return Place("store", pinned=False)
        return Place(self._engine.placement(version.digest), version.digest in self._pinned)
