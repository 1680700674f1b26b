"""A job's events as they happen."""

from service.api.schemas.fine_tuning import EventReply
from service.api.state import ServerState
from service.api.streams.followed import EventIds, Followed
from service.jobs.job import JobEvent

JOB_EVENT_IDS = EventIds("ftevent")


def followed_job(state: ServerState, tenant: str, job_id: str) -> Followed[JobEvent]:
    """A job, for `stream_of`; its functions raise UnknownJobError where the tenant has no such job."""
    return Followed(
        ended=lambda: state.jobs.get(tenant, job_id).ended,
        since=lambda number: state.jobs.events_since(tenant, job_id, number),
        shown=EventReply.of,
    )
