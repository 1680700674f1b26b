"""What can go wrong with gates.

GatesError
├── UnknownGateError       the alias of that adapter has no gate
├── UnknownCheckError      there is no such check
└── TooManyGatesError      as many gates are kept, or checks wait, as may
"""

from service.errors import ServiceError


class GatesError(ServiceError):
    """Root of every error that this package raises for its callers."""


class UnknownGateError(GatesError):
    """The alias of that adapter has no gate."""

    def __init__(self, adapter: str, alias: str) -> None:
        super().__init__(f"{adapter}@{alias} has no gate; lorad gates set {adapter} {alias} --policy … makes one")


class UnknownCheckError(GatesError):
    """There is no such check."""

    def __init__(self, check_id: str) -> None:
        super().__init__(f"there is no check {check_id[:80]!r} of a gate")


class TooManyGatesError(GatesError):
    """As many gates are kept, or checks wait, as may."""

    def __init__(self, noun: str, limit: int) -> None:
        super().__init__(f"{limit} {noun}, which is the limit here")
