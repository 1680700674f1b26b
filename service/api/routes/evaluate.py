"""`POST /evaluate`: how good the base and adapters are on cases."""

from dataclasses import replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from evaluation.runs.run import NewRun, Run
from evaluation.suites.suite import Suite
from service.api.answers.generation import resolve
from service.api.auth.keys import Principal
from service.api.auth.principal import Reader, Ready
from service.api.background.long_work import Stop
from service.api.errors.mapping import problem_of
from service.api.errors.problem import invalid
from service.api.middleware.request_id import access_record
from service.api.schemas.evaluation_request import EvaluateBody
from service.api.schemas.evaluations import RunReply
from service.api.state import ServerState, State
from service.api.streams.disconnect import until_disconnect
from service.api.uploads.cases import specs_of, suite_of
from service.evaluation.request import Wanted, new_run
from service.inference.inference import Inference
from service.settings import Settings

router = APIRouter(tags=["evaluation"])

SHORT_ANSWERS = 256
"""A request waits for so many, models times cases, unless it says otherwise."""
_ACCEPTED = 202


@router.post(
    "/evaluate",
    response_model=RunReply,
    responses={_ACCEPTED: {"model": RunReply, "description": "The run waits; follow its events."}},
)
async def evaluate(
    request: Request, principal: Reader, inference: Ready, state: State, body: EvaluateBody
) -> RunReply | Response:
    """Measures models on cases, all in one batch, and keeps what it finds.

    A short run is answered when it is through; a long one, or one with `background`, at once with 202.
    """
    access_record(request.scope).model = ",".join(model or inference.model_name for model in body.models)
    new, suite = await run_in_threadpool(_asked, inference, state, principal, body)
    if _waits(body, new):
        run = await run_in_threadpool(state.desk.runs.create, principal.tenant, new, suite)
        state.runner.wake()
        return JSONResponse(RunReply.of(run).model_dump(mode="json"), _ACCEPTED)
    stop = Stop()
    work = partial(_measured, inference, state, principal, new, suite)
    with state.lifecycle.in_flight.answering([stop]):
        return RunReply.of(await until_disconnect(request, state.evaluations.run(work, stop)))


def _waits(body: EvaluateBody, new: NewRun) -> bool:
    answers = len(new.models) * new.suite.num_cases
    return answers > SHORT_ANSWERS if body.background is None else body.background


def _asked(inference: Inference, state: ServerState, principal: Principal, body: EvaluateBody) -> tuple[NewRun, Suite]:
    """The run and its cases."""
    for model in body.models:
        resolve(inference, principal, model)
    asked = suite_of(state, principal, body)
    _check_max_tokens(body, state.settings)
    wanted = Wanted(
        models=tuple(body.models),
        suite=asked.suite,
        name=asked.name,
        scorers=specs_of(body.metrics),
        max_tokens=body.max_tokens,
        temperature=body.temperature,
        seed=body.seed,
        stop=None if body.stop is None else (body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        actor=principal.tenant,
        judge=body.judge,
    )
    return new_run(state.settings, inference, principal.tenant, wanted), asked.suite


def _measured(
    inference: Inference, state: ServerState, principal: Principal, new: NewRun, suite: Suite, stop: Stop
) -> Run:
    """The run with all its cases; one that the request is to blame for leaves nothing behind."""
    desk = state.desk
    claim = desk.claims.begin(principal.tenant, new, suite)
    try:
        run = state.runner.now(inference, claim, stop)
    except Exception as error:
        if problem_of(error).status < 500 and desk.runs.get(principal.tenant, claim.run.id).status == "failed":
            desk.runs.delete(principal.tenant, claim.run.id)
        raise
    return replace(run, results=desk.runs.results(principal.tenant, run.id))


def _check_max_tokens(body: EvaluateBody, settings: Settings) -> None:
    if body.max_tokens is not None and body.max_tokens > settings.max_new_tokens:
        raise invalid(
            f"max_tokens is {body.max_tokens}, more than the {settings.max_new_tokens} allowed here", param="max_tokens"
        )
