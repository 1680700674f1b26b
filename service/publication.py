"""The one way into the registry for training, import and upload: the service's own bounds, then `adapters.publish`."""

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError, InvalidNameError
from adapters.publication import Submission, publish
from adapters.registry import Registry
from adapters.version import Version
from service.settings import Settings


def publish_bounded(registry: Registry, submission: Submission, facts: BaseFacts, settings: Settings) -> Version:
    """Publishes an adapter folder that this installation would also serve.

    Raises:
        InvalidNameError: the name is malformed, or the base's own: requests could never reach the adapter.
        InvalidAdapterError: the rank is beyond `max_lora_rank`, or the folder is malformed.
        BaseMismatchError: it was made for another base.
    """
    base_name = settings.served_model_name or facts.name
    if submission.name == base_name:
        raise InvalidNameError(f"{submission.name!r} is the name of the base: requests could never reach this adapter")
    rank, most = LoraConfig.read(submission.folder).max_rank, settings.max_lora_rank
    if rank > most:
        raise InvalidAdapterError(
            f"the adapter has rank {rank}, more than the {most} allowed here; raise LORAD_MAX_LORA_RANK or retrain"
        )
    return publish(registry, submission, facts)
