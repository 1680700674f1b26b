"""Everything that is checked before an adapter is published or served."""

from dataclasses import dataclass
from pathlib import Path

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.coverage import check_coverage
from adapters.errors import BaseMismatchError, InvalidAdapterError
from adapters.files import MANIFEST, PICKLED_WEIGHTS, WEIGHTS
from adapters.header import HeaderLimits, read_header
from adapters.manifest import ASSUMED, BaseIdentity, Manifest
from adapters.weights import scan_identity

_TENSORS_PER_MODULE = 3


@dataclass(frozen=True, kw_only=True)
class CheckedAdapter:
    """An adapter folder that passed."""

    config: LoraConfig
    manifest: Manifest
    """As read, or made here for an adapter from elsewhere."""
    modules: tuple[str, ...]
    """Names of the adapted layers."""
    identity: bool
    """The weights change nothing."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its owner should know, for people."""
        found = []
        if self.identity:
            found.append("every update is zero: this adapter answers exactly as the base does")
        if self.manifest.base.digest == ASSUMED:
            found.append(f"the adapter does not say which base it was made for: {self.manifest.base.name} is assumed")
        return tuple(found)


def validate(folder: Path, base: BaseFacts) -> CheckedAdapter:
    """Check a folder against a base: manifest, configuration, header, coverage, then every value.

    Cheap checks come first, so that a hostile file is refused before its tensors are read. `lorad.json` may be missing.

    Raises:
        InvalidAdapterError: says what is wrong, with the limit and the fix.
        BaseMismatchError: the manifest names another base.
    """
    found = Manifest.read(folder) if (folder / MANIFEST).exists() else None
    if found is not None and found.base.digest not in (base.digest, ASSUMED):
        raise BaseMismatchError((base.digest, base.name), (found.base.digest, found.base.name))
    config = LoraConfig.read(folder)
    _refuse_pickle(folder)
    limits = HeaderLimits(entries=_TENSORS_PER_MODULE * len(base.linear_shapes))
    modules = check_coverage(config, read_header(folder / WEIGHTS, limits), base.linear_shapes)
    identity = scan_identity(folder)
    if found is not None and found.identity and not identity:
        raise InvalidAdapterError(
            f"{MANIFEST} says identity, but the weights are not zero: the files do not belong together"
        )
    manifest = found or Manifest(base=BaseIdentity(name=base.name, digest=ASSUMED), identity=identity)
    return CheckedAdapter(config=config, manifest=manifest, modules=modules, identity=identity)


def _refuse_pickle(folder: Path) -> None:
    if not (folder / WEIGHTS).exists() and (folder / PICKLED_WEIGHTS).exists():
        raise InvalidAdapterError(
            f"{PICKLED_WEIGHTS} is a pickle, which can run code and is never read: save the adapter again with "
            f"save_pretrained(..., safe_serialization=True), which writes {WEIGHTS}"
        )
