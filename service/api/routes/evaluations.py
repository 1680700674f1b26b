"""`/evaluations`: stored runs, what they say meanwhile, and two of them held against each other."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from evaluation.reports.blocks import Report
from evaluation.reports.files import to_json
from evaluation.reports.html import to_html
from evaluation.reports.markdown import to_markdown
from evaluation.runs.run import RunStatus
from evaluation.runs.runs import RunFilter
from service.api.answers.generation import resolve
from service.api.auth.principal import Publisher, Reader, Ready
from service.api.background.long_work import Stop
from service.api.schemas.evaluations import (
    ComparisonList,
    RunCaseList,
    RunDeleted,
    RunEventList,
    RunList,
    RunReply,
)
from service.api.schemas.listing import After
from service.api.schemas.preference import JudgeBody, PreferenceList
from service.api.schemas.schema import ModelName
from service.api.state import State
from service.api.streams.disconnect import until_disconnect
from service.api.streams.followed import stream_of, wants_stream
from service.api.streams.run_events import RUN_EVENT_IDS, followed_run
from service.evaluation.comparison import Side, compare_runs
from service.evaluation.preference import Preference, judge_runs
from service.evaluation.report import run_report
from service.evaluation.request import Judging
from service.page import Page

router = APIRouter(prefix="/evaluations", tags=["evaluation"])

ModelQuery = Annotated[ModelName | None, Query()]
RunId = Annotated[str, Path(pattern="^[A-Za-z0-9-]{1,64}$")]
ReportFormat = Literal["html", "markdown", "json"]
_REPORTS = {"html": "text/html; charset=utf-8", "markdown": "text/markdown; charset=utf-8", "json": "application/json"}
_REPORT_CONTENT = {
    media: {"schema": {"type": "string"}, "example": "support:3 on returns …"} for media in _REPORTS.values()
}
_WRITTEN: dict[str, Callable[[Report], str]] = {
    "html": to_html,
    # No plot lies beside it.
    "markdown": partial(to_markdown, pictures=False),
    "json": to_json,
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/event-stream": {"example": 'id: evalevent-7\ndata: {"message": "40 of 64 answers measured", …}\n\n'}
        }
    },
    204: {"description": "The run has ended and nothing is left to tell."},
}


@router.get("")
def list_runs(
    principal: Reader,
    state: State,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    status: RunStatus | None = None,
    suite: Annotated[str | None, Query(min_length=1, max_length=71)] = None,
    model_digest: Annotated[str | None, Query(min_length=1, max_length=71)] = None,
) -> RunList:
    """The caller's evaluations, newest first: those of a state, of a suite by name or digest, or with a version."""
    wanted = RunFilter(status=status, suite=suite, model_digest=model_digest)
    found = state.desk.runs.list(principal.tenant, after=after, limit=limit + 1, wanted=wanted)
    return RunList.of(Page.of(found, limit))


@router.get("/{run_id}")
def show(principal: Reader, state: State, run_id: RunId) -> RunReply:
    """One evaluation: how far it is, and its metrics once it is through."""
    return RunReply.of(state.desk.runs.get(principal.tenant, run_id))


@router.delete("/{run_id}")
def delete(principal: Publisher, state: State, run_id: RunId) -> RunDeleted:
    """Removes an evaluation that has ended, with all its answers."""
    state.desk.runs.delete(principal.tenant, run_id)
    return RunDeleted(id=run_id)


@router.post("/{run_id}/cancel")
def cancel(principal: Reader, state: State, run_id: RunId) -> RunReply:
    """Ends an evaluation; the answers that are stored stay, and it can be resumed."""
    run = state.desk.runs.cancel(principal.tenant, run_id)
    state.runner.stop(run_id)
    return RunReply.of(run)


@router.post("/{run_id}/resume")
def resume(principal: Reader, state: State, run_id: RunId) -> RunReply:
    """Goes on with a partial, cancelled or failed evaluation; only answers without a score are made again."""
    run = state.desk.runs.resume(principal.tenant, run_id)
    state.runner.wake()
    return RunReply.of(run)


@router.get("/{run_id}/events", response_model=RunEventList, responses=_STREAM)
async def list_events(
    request: Request,
    principal: Reader,
    state: State,
    run_id: RunId,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    stream: bool | None = None,
) -> RunEventList | Response:
    """What an evaluation has said, newest first; with `stream=true` or `Accept: text/event-stream` as it says it.

    A stream begins with the oldest event, or after the one that the header `Last-Event-ID` names, and ends when the
    evaluation has ended; 204 says that nothing is left to tell.
    """
    tenant = principal.tenant
    if wants_stream(request, asked=stream):
        return await run_in_threadpool(
            stream_of, state, followed_run(state, tenant, run_id), RUN_EVENT_IDS.last(request)
        )
    before = None if after is None else RUN_EVENT_IDS.number(after, "after")
    found = await run_in_threadpool(state.desk.runs.events, tenant, run_id, before, limit + 1)
    return RunEventList.of(Page.of(found, limit))


@router.get("/{run_id}/cases")
def list_cases(
    principal: Reader,
    state: State,
    run_id: RunId,
    model: Annotated[int, Query(ge=0, lt=1000)] = 0,
    after: Annotated[int, Query(ge=-1, le=1 << 30)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> RunCaseList:
    """Each case with the answer of the model at that position, after the case `after`; also while it runs."""
    desk, tenant = state.desk, principal.tenant
    found = desk.runs.cases(tenant, run_id, model, after=after, limit=limit + 1)
    run = desk.runs.get(tenant, run_id)
    suite = desk.suites.content(tenant, run.suite.digest)
    return RunCaseList.of(suite, run.models[model], Page.of(found, limit))


@router.get(
    "/{run_id}/report",
    response_class=Response,
    responses={200: {"content": _REPORT_CONTENT}},
)
def report(
    principal: Reader, state: State, run_id: RunId, kind: Annotated[ReportFormat, Query(alias="format")] = "html"
) -> Response:
    """An evaluation that is through as a page, as Markdown or as data: scores, comparisons, plots and worst cases."""
    made = run_report(state.desk, state.desk.runs.get(principal.tenant, run_id))
    content = _WRITTEN[kind](made)
    # The page holds what models said; should it be opened as this server's, nothing in it may run.
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"}
    return Response(content, media_type=_REPORTS[kind], headers=headers)


@router.post("/{run_id}/judge")
async def judge(
    request: Request, principal: Reader, inference: Ready, state: State, run_id: RunId, body: JudgeBody
) -> PreferenceList:
    """Lets a judge choose between the stored answers of two models, case by case and in both orders.

    A win counts when it holds in both; `agreement` says how often the orders agree. Models pair as in `compare`.
    """
    if body.judge is not None:
        resolve(inference, principal, body.judge)
    asked = Judging(settings=state.settings, inference=inference, tenant=principal.tenant, model=body.judge)
    before = Side(run_id=body.baseline, model=body.with_model)
    stop = Stop()

    def work(listening: Stop) -> list[Preference]:
        after = Side(run_id=run_id, model=body.model)
        return judge_runs(state.desk, asked, before, after, body.max_cases, listening.check)

    with state.lifecycle.in_flight.answering([stop]):
        return PreferenceList.of(await until_disconnect(request, state.evaluations.run(work, stop)))


@router.get("/{run_id}/compare")
def compare(
    principal: Reader,
    state: State,
    run_id: RunId,
    other: Annotated[str, Query(alias="with", pattern="^[A-Za-z0-9-]{1,64}$")],
    model: ModelQuery = None,
    with_model: ModelQuery = None,
) -> ComparisonList:
    """How far an evaluation is better than another one of the same cases, the baseline `with`.

    Models are paired in their order, or all with the one of the baseline; `model` and `with_model` choose one of each.
    With the evaluation itself, its other models are compared with its first. Each metric comes with the 95% interval of
    its gain, a p-value and a verdict, in which a gain that may be chance is called noise.
    """
    before, after = Side(run_id=other, model=with_model), Side(run_id=run_id, model=model)
    return ComparisonList.of(compare_runs(state.desk.runs, principal.tenant, before, after))
