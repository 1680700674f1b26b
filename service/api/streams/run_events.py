"""A stored evaluation's events as they happen."""

from evaluation.runs.run import RunEvent
from service.api.schemas.evaluations import RunEventReply
from service.api.state import ServerState
from service.api.streams.followed import EventIds, Followed

RUN_EVENT_IDS = EventIds("evalevent")


def followed_run(state: ServerState, tenant: str, run_id: str) -> Followed[RunEvent]:
    """A run, for `stream_of`; its functions raise UnknownRunError where the tenant has no such run."""
    return Followed(
        ended=lambda: state.desk.runs.get(tenant, run_id).ended,
        since=lambda number: state.desk.runs.events_since(tenant, run_id, number),
        shown=RunEventReply.of,
    )
