"""The one way into the registry for training, import and upload: the service's own bounds, then `adapters.publish`."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import JsonValue

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.errors import AdapterError, InvalidAdapterError, InvalidNameError
from adapters.publication import Submission, publish, publish_checkpoint
from adapters.reference import check_name
from adapters.registry import Registry
from adapters.retention import Retention, prune
from adapters.version import Change, Version
from base.digest import base_digest
from base.shapes import linear_shapes
from base.source import locate
from service.registry.opening import open_registry
from service.settings import Settings
from storage.errors import StorageError

_log = logging.getLogger(__name__)

RETENTION_ACTOR = "retention"
"""Who deletes what retention does not keep, in an adapter's history."""
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


def publish_bounded(
    registry: Registry, submission: Submission, facts: BaseFacts, settings: Settings, in_use: Collection[str] = ()
) -> Version:
    """Publishes an adapter folder that this installation would also serve, then deletes what is not to be kept.

    Args:
        registry: where to.
        submission: the folder and what is told of it.
        facts: of the base it was made for.
        settings: bounds, and how many versions are kept.
        in_use: digests of what this process answers with.

    Raises:
        InvalidNameError, InvalidAdapterError: see `check_bounds`; also when the folder is malformed.
        BaseMismatchError: it was made for another base.
    """
    check_bounds(submission.name, LoraConfig.read(submission.folder).max_rank, facts.name, settings)
    version = publish(registry, submission, facts)
    retain(registry, version, settings, in_use)
    return version


def publish_step(
    registry: Registry, submission: Submission, facts: BaseFacts, settings: Settings, step: int
) -> Version:
    """Publishes a checkpoint of a job, which answers at once as `name:ckpt-step-N`.

    Raises:
        InvalidNameError, InvalidAdapterError, BaseMismatchError: as in `publish_bounded`.
        SupersededJobError: a newer job publishes its checkpoints under this name.
    """
    check_bounds(submission.name, LoraConfig.read(submission.folder).max_rank, facts.name, settings)
    return publish_checkpoint(registry, submission, facts, step)


def retain(registry: Registry, published: Version, settings: Settings, in_use: Collection[str] = ()) -> list[Version]:
    """Deletes what retention does not keep of the adapter that was just published; gives what is gone.

    A failure is logged and left to the next publication: this one is done.
    """
    retention = Retention(default=settings.keep_versions, in_use={*in_use, published.digest})
    change = Change(actor=RETENTION_ACTOR, reason=f"after {published.reference} was published")
    try:
        gone = prune(registry, published.tenant, published.name, retention, change)
    except (AdapterError, StorageError) as error:
        _log.warning("old versions of adapter %s were not deleted: %s", published.name, error)
        return []
    for version in gone:
        _log.info("adapter version %s was deleted: newer ones are kept", version.reference)
    return gone


def base_facts(base_model: str, settings: Settings) -> BaseFacts:
    """What publication compares an adapter with, without loading the base.

    Raises:
        BaseModelError: there is no such base.
    """
    source = locate(base_model, settings.bases, _log.info)
    return BaseFacts(name=source.name, digest=base_digest(source.folder), linear_shapes=linear_shapes(source.folder))


def publish_folder(
    name: str, tenant: str, folder: Path, base_model: str, settings: Settings, lineage: Mapping[str, JsonValue]
) -> Version:
    """Publishes a trained adapter's folder without loading its base.

    Raises:
        AdapterError: see `publish_bounded`.
        BaseModelError: there is no such base.
    """
    submission = Submission(tenant=tenant, name=name, folder=folder, source="train", lineage=lineage)
    return publish_bounded(open_registry(settings), submission, base_facts(base_model, settings), settings)
