"""`POST /evaluate`: how good the base and adapters are on cases."""

import uuid
from functools import partial

from fastapi import APIRouter, Request

from evaluation.settings import GenerationSettings
from service.api.cases import records_of
from service.api.disconnect import until_disconnect
from service.api.errors import invalid
from service.api.generation import resolve
from service.api.keys import Principal
from service.api.long_work import Stop
from service.api.principal import Reader, Ready
from service.api.request_id import access_record
from service.api.schemas.evaluate import EvaluateBody, EvaluateReply, ModelReply
from service.api.state import ServerState, State
from service.evaluation import EvaluationRequest, evaluate_models
from service.inference import Inference
from service.settings import Settings

router = APIRouter(tags=["evaluation"])


@router.post("/evaluate")
async def evaluate(
    request: Request, principal: Reader, inference: Ready, state: State, body: EvaluateBody
) -> EvaluateReply:
    """Measures models on cases, all in one batch."""
    access_record(request.scope).model = ",".join(model or inference.model_name for model in body.models)
    stop = Stop()
    work = partial(_measured, inference, state, principal, body)
    with state.lifecycle.in_flight.answering([stop]):
        results = await until_disconnect(request, state.evaluations.run(work, stop))
    return EvaluateReply(id=f"eval-{uuid.uuid4().hex}", results=results)


def _measured(
    inference: Inference, state: ServerState, principal: Principal, body: EvaluateBody, stop: Stop
) -> list[ModelReply]:
    for model in body.models:
        resolve(inference, principal, model)
    asked = EvaluationRequest(
        models=tuple(body.models),
        records=records_of(body, state.settings, principal),
        metrics=tuple(body.metrics),
        generation=GenerationSettings(max_tokens=_max_tokens(body, state.settings)),
    )
    return [ModelReply.of(result) for result in evaluate_models(inference, principal.tenant, asked, stop.check)]


def _max_tokens(body: EvaluateBody, settings: Settings) -> int:
    if body.max_tokens is None:
        return min(settings.default_max_tokens, settings.max_new_tokens)
    if body.max_tokens > settings.max_new_tokens:
        raise invalid(
            f"max_tokens is {body.max_tokens}, more than the {settings.max_new_tokens} allowed here", param="max_tokens"
        )
    return body.max_tokens
