"""The one way into the registry for training, import and upload: the service's own bounds, then `adapters.publish`."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError, InvalidNameError
from adapters.publication import Submission, publish
from adapters.reference import check_name
from adapters.registry import Registry
from adapters.version import Version
from base.digest import base_digest
from base.shapes import linear_shapes
from base.source import locate
from service.registry import open_registry
from service.settings import Settings

_RESERVED = "base"
"""What the command line calls the base."""


def check_bounds(name: str, rank: int, base_name: str, settings: Settings) -> None:
    """Refuses what `publish_bounded` would refuse, before any work is done for it.

    Raises:
        InvalidNameError: the name is malformed, or the base's own: requests could never reach the adapter.
        InvalidAdapterError: the rank is beyond `max_lora_rank`.
    """
    if check_name(name) in (settings.served_model_name or base_name, _RESERVED):
        raise InvalidNameError(f"{name!r} is the name of the base: requests could never reach this adapter")
    if rank > settings.max_lora_rank:
        raise InvalidAdapterError(
            f"the adapter has rank {rank}, more than the {settings.max_lora_rank} allowed here; "
            "raise LORAD_MAX_LORA_RANK or use a lower rank"
        )


def publish_bounded(registry: Registry, submission: Submission, facts: BaseFacts, settings: Settings) -> Version:
    """Publishes an adapter folder that this installation would also serve.

    Raises:
        InvalidNameError, InvalidAdapterError: see `check_bounds`; also when the folder is malformed.
        BaseMismatchError: it was made for another base.
    """
    check_bounds(submission.name, LoraConfig.read(submission.folder).max_rank, facts.name, settings)
    return publish(registry, submission, facts)


def publish_folder(
    name: str, tenant: str, folder: Path, base_model: str, settings: Settings, lineage: Mapping[str, JsonValue]
) -> Version:
    """Publishes a trained adapter's folder without loading its base.

    Raises:
        AdapterError: see `publish_bounded`.
        BaseModelError: there is no such base.
    """
    source = locate(base_model, settings.bases, lambda _line: None)
    facts = BaseFacts(name=source.name, digest=base_digest(source.folder), linear_shapes=linear_shapes(source.folder))
    submission = Submission(tenant=tenant, name=name, folder=folder, source="train", lineage=lineage)
    return publish_bounded(open_registry(settings), submission, facts, settings)
