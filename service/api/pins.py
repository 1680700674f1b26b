"""Adapters that an operator keeps on the device."""

from collections.abc import Iterator
from contextlib import contextmanager

from adapters.reference import Reference
from adapters.version import Version
from service.api.keys import Principal
from service.api.state import ServerState
from service.inference import Inference


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
