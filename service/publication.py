"""The one way into the registry for training, import and upload: the service's own bounds, then `adapters.publish`."""

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError, InvalidNameError
from adapters.publication import Submission, publish
from adapters.reference import check_name
from adapters.registry import Registry
from adapters.version import Version
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
