"""`/v1/fine_tuning`: jobs as OpenAI has them, their events as they happen, and what a job would cost."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from adapters.errors import UnknownAdapterError
from service.api.auth.principal import Publisher
from service.api.background.long_work import Stop
from service.api.jobs.creation import create_job, metadata_filter
from service.api.jobs.estimate import estimate_of
from service.api.schemas.estimate import EstimateReply
from service.api.schemas.fine_tuning import CheckpointList, EventList, JobList, JobReply
from service.api.schemas.listing import After
from service.api.state import ServerState, State
from service.api.streams.disconnect import until_disconnect
from service.api.streams.followed import stream_of, wants_stream
from service.api.streams.job_events import JOB_EVENT_IDS, followed_job
from service.jobs.job import Job
from service.jobs.request import JobRequest

router = APIRouter(prefix="/v1/fine_tuning", tags=["finetuning"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {"example": 'id: ftevent-412\ndata: {"message": "The job waits again", …}\n\n'}
        }
    },
    204: {"description": "The job has ended and nothing is left to tell."},
}
JobId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]
JobLimit = Annotated[int, Query(ge=1, le=100)]
EventLimit = Annotated[int, Query(ge=1, le=1000)]


@router.post("/jobs")
def create(request: Request, principal: Publisher, state: State, body: JobRequest) -> JobReply:
    """Puts a job into the queue. The same `Idempotency-Key` gives the job that exists."""
    return _reply(state, create_job(request, principal, state, body))


@router.get("/jobs")
def list_jobs(
    request: Request, principal: Publisher, state: State, after: After = None, limit: JobLimit = 20
) -> JobList:
    """The caller's jobs, newest first; `metadata[k]=v` leaves those that carry it."""
    page = state.jobs.list(principal.tenant, after=after, limit=limit, metadata=metadata_filter(request))
    return JobList(data=[_reply(state, job) for job in page.data], has_more=page.has_more)


@router.get("/jobs/{job_id}")
def show(principal: Publisher, state: State, job_id: JobId) -> JobReply:
    """One job: where it is in the queue, how far it is, when it will end."""
    return _reply(state, state.jobs.get(principal.tenant, job_id))


@router.post("/jobs/{job_id}/cancel")
def cancel(principal: Publisher, state: State, job_id: JobId) -> JobReply:
    """Ends a job for good; its checkpoints stay."""
    return _reply(state, state.jobs.cancel(principal.tenant, job_id))


@router.post("/jobs/{job_id}/pause")
def pause(principal: Publisher, state: State, job_id: JobId) -> JobReply:
    """Stops a job at a checkpoint, from which it can go on."""
    return _reply(state, state.jobs.pause(principal.tenant, job_id))


@router.post("/jobs/{job_id}/resume")
def resume(principal: Publisher, state: State, job_id: JobId) -> JobReply:
    """Puts a paused job back into the queue."""
    return _reply(state, state.jobs.resume(principal.tenant, job_id))


@router.get("/jobs/{job_id}/events", response_model=EventList, responses=_STREAM)
async def list_events(
    request: Request,
    principal: Publisher,
    state: State,
    job_id: JobId,
    after: After = None,
    limit: EventLimit = 20,
    stream: bool | None = None,
) -> EventList | Response:
    """What a job has said, newest first; with `stream=true` or `Accept: text/event-stream` as it says it.

    A stream begins with the oldest event, or after the one that the header `Last-Event-ID` names, and ends when the job
    has ended; 204 says that nothing is left to tell.
    """
    if wants_stream(request, asked=stream):
        followed = followed_job(state, principal.tenant, job_id)
        return await run_in_threadpool(stream_of, state, followed, JOB_EVENT_IDS.last(request))
    if after is not None:
        JOB_EVENT_IDS.number(after, "after")
    return EventList.of(await run_in_threadpool(state.jobs.events, principal.tenant, job_id, after, limit))


@router.get("/jobs/{job_id}/checkpoints")
def list_checkpoints(
    principal: Publisher, state: State, job_id: JobId, after: After = None, limit: JobLimit = 10
) -> CheckpointList:
    """The checkpoints of a job, newest first; each can be prompted by its `fine_tuned_model_checkpoint`."""
    job = state.jobs.get(principal.tenant, job_id)
    page = state.jobs.checkpoints(principal.tenant, job_id, after, limit)
    return CheckpointList.of(job, page, _answering(state, job))


def _answering(state: ServerState, job: Job) -> set[int]:
    """Steps of the job's checkpoints that have its name."""
    try:
        held = state.registry.checkpoints(job.tenant, job.name)
    except UnknownAdapterError:
        return set()
    return {version.checkpoint_step or 0 for version in held if version.job_id == job.id}


@router.post("/estimate")
async def estimate(request: Request, principal: Publisher, state: State, body: JobRequest) -> EstimateReply:
    """What a job would cost on this server's base: tokens, steps, memory, and the settings left to `auto`."""

    def work(_stop: Stop) -> EstimateReply:
        return estimate_of(state, principal.tenant, body)

    return await until_disconnect(request, state.preflights.run(work, Stop()))


def _reply(state: ServerState, job: Job) -> JobReply:
    return JobReply.of(job, state.jobs.position(job.tenant, job.id) if job.status == "queued" else None)
