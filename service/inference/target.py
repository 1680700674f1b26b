"""What a request is answered by: the base, an adapter version, or a weighted sum of some."""

from dataclasses import dataclass

from adapters.version import Version
from base.rendering import Renderer
from service.engine.request import DEFAULT_TENANT, AdapterSource, AdapterUse


@dataclass(frozen=True)
class WeightedAdapter:
    """An adapter as a request names it, and how strongly it acts."""

    reference: str
    weight: float = 1.0


ModelChoice = str | tuple[WeightedAdapter, ...] | None
"""What a request wants to be answered by: None or the base's public name, a reference, or a weighted sum."""


@dataclass(frozen=True)
class WeightedVersion:
    """An adapter version, and how strongly it acts."""

    version: Version
    weight: float = 1.0

    @property
    def source(self) -> AdapterSource:
        """What the engine loads."""
        version = self.version
        return AdapterSource(version.digest, version.path, public_name(version))

    def __str__(self) -> str:
        reference = str(self.version.reference)
        return reference if self.weight == 1 else f"{reference}*{self.weight:g}"


def public_name(version: Version) -> str:
    """What the engine's metrics and messages call a version; names are unique within a tenant only."""
    return str(version.reference) if version.tenant == DEFAULT_TENANT else f"{version.tenant}/{version.reference}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a request is answered by."""

    tenant: str
    renderer: Renderer
    stop_ids: frozenset[int]
    base_name: str
    parts: tuple[WeightedVersion, ...] = ()
    """Their changes of the base are summed; none: the base alone."""

    @property
    def model(self) -> str:
        """Public name: the base's id, the pinned `name:N`, or `a:1*0.5+b:2*0.5`."""
        return "+".join(map(str, self.parts)) or self.base_name

    @property
    def version(self) -> Version | None:
        """The one that answers; None for the base and for a merge."""
        return self.parts[0].version if len(self.parts) == 1 else None

    @property
    def adapters(self) -> tuple[AdapterUse, ...]:
        """What the engine adds to the base, in an order that does not depend on how the request has it."""
        uses = (AdapterUse(part.source, part.weight) for part in self.parts)
        return tuple(sorted(uses, key=lambda use: use.source.digest))


def summed(parts: tuple[WeightedVersion, ...]) -> tuple[WeightedVersion, ...]:
    """The parts with one entry for each content: two names may mean the same version."""
    summed: dict[str, WeightedVersion] = {}
    for part in parts:
        digest = part.version.digest
        known = summed.get(digest)
        summed[digest] = part if known is None else WeightedVersion(known.version, known.weight + part.weight)
    return tuple(summed.values())
