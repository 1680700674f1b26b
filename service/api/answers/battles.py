"""From a conversation to two models' answers to it, with nothing between that would tell which is which."""

import secrets
from collections.abc import Sequence
from dataclasses import replace

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from adapters.manifest import ASSUMED
from evaluation.arena.battle import Answer
from evaluation.arena.errors import TooFewModelsError
from service.api.answers.generation import Asked, Running, finish, prepare, resolve, start
from service.api.answers.prompts import chat_prompt
from service.api.answers.wanted import ParamNames, Wanted
from service.api.auth.keys import Principal
from service.api.schemas.arena import BattleBody
from service.api.state import ServerState
from service.engine.request import Answer as EngineAnswer
from service.engine.request import SamplingParams
from service.inference.inference import Inference
from service.inference.target import Target

_CHANCE = secrets.SystemRandom()


async def answers_of(
    request: Request, inference: Inference, state: ServerState, principal: Principal, body: BattleBody
) -> tuple[Answer, Answer]:
    """Two models' answers; the models are picked by chance where the request names more than two, or none.

    Raises:
        TooFewModelsError: there are no two different models.
        ApiError, AdapterError, EngineError: as where text is generated.
    """
    asked = await run_in_threadpool(_asked, inference, state, principal, body)
    running = start(inference, request, asked)
    first, second = zip(running, await finish(request, running), strict=True)
    return _answer(inference, *first), _answer(inference, *second)


def _asked(inference: Inference, state: ServerState, principal: Principal, body: BattleBody) -> list[Asked]:
    if body.models is None:
        models = _chosen(_everybody(inference, state, principal))
    else:
        targets = [resolve(inference, principal, model, "models") for model in body.models]
        models = _chosen(list(dict.fromkeys(_name(target) for target in targets)))
    params = SamplingParams(max_tokens=1, temperature=body.temperature, seed=body.seed)
    wanted = Wanted(
        prompts=[chat_prompt(body.rendered)],
        models=models,
        params=params,
        max_tokens=body.max_tokens,
        names=ParamNames(adapters="models"),
    )
    asked = prepare(inference, state.settings, principal, wanted)
    # Adapters may render prompts differently long: both may say as much as the one that has less room.
    most = min(each.params.max_tokens for each in asked)
    return [replace(each, params=replace(each.params, max_tokens=most)) for each in asked]


def _everybody(inference: Inference, state: ServerState, principal: Principal) -> list[str | None]:
    """The base and every adapter's newest version, where it fits and adapters are served."""
    latest = [adapter.latest for adapter in state.registry.adapters(principal.tenant) if state.settings.max_loras]
    fitting = (inference.base.digest, ASSUMED)
    return [None, *(str(version.reference) for version in latest if version.base_digest in fitting)]


def _name(target: Target) -> str | None:
    return None if target.version is None else str(target.version.reference)


def _chosen(models: Sequence[str | None]) -> list[str | None]:
    if len(models) < 2:
        raise TooFewModelsError(", ".join(model or "the base" for model in models))
    return _CHANCE.sample(models, 2)


def _answer(inference: Inference, running: Running, answer: EngineAnswer) -> Answer:
    target = running.asked.target
    return Answer(
        model=target.model,
        digest=inference.base.digest if target.version is None else target.version.digest,
        text=answer.text,
        finish_reason=answer.finish_reason,
    )
