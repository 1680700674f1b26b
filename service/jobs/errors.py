"""What can go wrong with jobs.

JobsError
├── UnknownJobError        the tenant has no such job, event or checkpoint
├── JobStateError          the job is in a state in which that cannot be done
├── TooManyJobsError       as many jobs of the tenant have not ended as may
├── IdempotencyError       the key stands for another request
├── StaleClaimError        the job is another worker's by now, or nobody's
└── LaunchError            a trainer could not be started
"""

from service.errors import ServiceError


class JobsError(ServiceError):
    """Root of every error that this package raises for its callers."""


class UnknownJobError(JobsError):
    """The tenant has no such job, event or checkpoint."""

    def __init__(self, what: str, found: str) -> None:
        super().__init__(f"there is no {what} {found[:80]!r}; GET /v1/fine_tuning/jobs lists the jobs that exist")


class JobStateError(JobsError):
    """The job is in a state in which that cannot be done."""

    def __init__(self, job_id: str, status: str, action: str, possible: str) -> None:
        super().__init__(f"job {job_id} is {status} and cannot be {action}; that is possible while it is {possible}")


class TooManyJobsError(JobsError):
    """As many jobs of the tenant have not ended as may."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} jobs wait or run, the limit here: let one end or cancel one, or let the operator raise "
            "LORAD_MAX_JOBS"
        )


class IdempotencyError(JobsError):
    """The key stands for another request."""

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(
            f"Idempotency-Key {key[:80]!r} stands for job {job_id}, which was asked for otherwise: "
            "send the same body, or another key"
        )


class StaleClaimError(JobsError):
    """The job is another worker's by now, or nobody's: whoever holds the claim must stop and change nothing."""

    def __init__(self, job_id: str, token: int) -> None:
        super().__init__(f"claim {token} on job {job_id} is over")


class LaunchError(JobsError):
    """A trainer could not be started."""
