"""What can go wrong with a generation.

GenerationError
├── WriterUnavailableError    the model that writes does not answer; what is there stays, and can be gone on with
├── JournalError              the journal of another generation lies there, or somebody writes it now
├── UnknownGenerationError    the tenant has no such generation
├── GenerationStateError      it is not in the state for that
├── TooManyGenerationsError   as many have not ended as may
└── StaleGenerationError      another server goes on with it, or it was cancelled
"""

from service.errors import ServiceError


class GenerationError(ServiceError):
    """Root of every error that this package raises for its callers."""


class WriterUnavailableError(GenerationError):
    """The model that writes does not answer."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(
            f"the model {model!r} cannot be asked for rows: {reason}; what there is stays, start again later"
        )


class JournalError(GenerationError):
    """A journal cannot be gone on with."""


class UnknownGenerationError(GenerationError):
    """The tenant has no such generation."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(
            f"there is no generation {generation_id[:80]!r}; GET /v1/data/generations lists those that exist"
        )


class GenerationStateError(GenerationError):
    """A generation is not in the state for what is asked."""

    def __init__(self, generation_id: str, status: str, action: str) -> None:
        super().__init__(f"{generation_id} is {status} and cannot be {action}")


class TooManyGenerationsError(GenerationError):
    """As many generations of a tenant have not ended as may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} generations wait or run, the limit here; cancel one, or let one end")


class StaleGenerationError(GenerationError):
    """A claim is over."""

    def __init__(self, generation_id: str) -> None:
        super().__init__(f"{generation_id} is no longer held: it was cancelled, or another server goes on with it")
