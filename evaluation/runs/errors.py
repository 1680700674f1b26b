"""The error tree of stored runs.

EvaluationError
└── RunError
    ├── UnknownRunError    there is no such run, or no such event of it
    ├── RunStateError      the run's state forbids what was asked for
    ├── TooManyRunsError   a tenant has as many runs waiting as it may
    ├── OtherBaseError      the run began on another base than the one that is loaded
    └── StaleRunError      the claim on a run is over; somebody else goes on with it, or it has ended
"""

from evaluation.errors import EvaluationError


class RunError(EvaluationError):
    """Root of what stored runs raise."""


class UnknownRunError(RunError):
    """There is no such run, or no such event of it.

    Args:
        noun: what was looked for.
        identifier: as it was named.
    """

    def __init__(self, noun: str, identifier: str) -> None:
        super().__init__(f"there is no {noun} {identifier[:80]!r}")


class RunStateError(RunError):
    """The run's state forbids what was asked for."""

    def __init__(self, run_id: str, status: str, wanted: str, allowed: str) -> None:
        super().__init__(f"{run_id} is {status} and cannot be {wanted}; that takes one that is {allowed}")


class TooManyRunsError(RunError):
    """A tenant has as many runs waiting or running as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} evaluations wait or run, which is the limit; cancel one, or try again later")


class OtherBaseError(RunError):
    """The run began on another base than the one that is loaded: half of its answers would be another model's."""

    def __init__(self, run_id: str, began_on: str, loaded: str) -> None:
        super().__init__(
            f"{run_id} began on the base {began_on[:19]}, and {loaded[:19]} is loaded; go on with it where that base "
            "is, or evaluate anew"
        )


class StaleRunError(RunError):
    """The claim on a run is over; somebody else goes on with it, or it has ended."""
