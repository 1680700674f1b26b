"""Adapters that an operator keeps on the device."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from adapters import pins
from adapters.errors import AdapterError
from adapters.manifest import ASSUMED
from adapters.reference import Reference
from adapters.registry import Registry
from adapters.version import Version
from service.api.auth.keys import Principal
from service.api.state import ServerState
from service.engine.errors import EngineError
from service.inference.inference import Inference
from service.inference.target import WeightedVersion
from storage.errors import StorageError

_log = logging.getLogger(__name__)


def load_pinned(registry: Registry, inference: Inference) -> None:
    """Loads what is pinned in the registry, before the server is ready.

    One that cannot be loaded is logged and left out: the others, and the base, can answer all the same.
    """
    fitting = [each for each in pins.pinned(registry) if each.base_digest in (inference.base.digest, ASSUMED)]
    for each in fitting:
        try:
            # Resolved again, which brings its files to this machine.
            version = registry.resolve(each.tenant, each.reference)
            inference.engine.pin(WeightedVersion(version).source).result()
        except (AdapterError, EngineError, StorageError) as error:
            _log.error("pinned adapter %s is not loaded: %s", each.reference, error)
        else:
            _log.info("pinned adapter %s is loaded", each.reference)


def let_go(inference: Inference, versions: Iterable[Version]) -> None:
    """Lets versions leave the device whose pins are gone."""
    for version in versions:
        inference.engine.unpin(version.digest)


def unpin(state: ServerState, inference: Inference, principal: Principal, reference: Reference) -> list[Version]:
    """Lets the adapter leave the device again; a bare name stands for all of its versions.

    Returns:
        The versions that were pinned until now.

    Raises:
        AdapterError: the reference means nothing.
    """
    registry, tenant = state.registry, principal.tenant
    bare = reference == Reference(name=reference.name)
    versions = registry.versions(tenant, reference.name) if bare else [registry.resolve(tenant, reference)]
    return [version for version in versions if inference.engine.unpin(version.digest)]


@contextmanager
def unpinning(state: ServerState, principal: Principal, name: str, number: int | None = None) -> Iterator[None]:
    """Around a deletion: what it takes away must not stay on the device, where no name would reach it any more.

    Raises:
        AdapterError: there is nothing of that name.
    """
    versions = state.registry.versions(principal.tenant, name)
    yield
    inference = state.lifecycle.opened
    for version in versions:
        if inference is not None and number in (None, version.number):
            inference.engine.unpin(version.digest)
