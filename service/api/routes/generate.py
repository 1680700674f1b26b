"""`POST /generate`: prompts by adapters, side by side in one batch."""

import uuid
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sse_starlette import JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.answers.generation import Running, finish, prepare, start
from service.api.answers.logprobs import token_infos
from service.api.answers.prompts import Encode, chat_prompt, text_prompt
from service.api.answers.usage import usage_of_all, usage_of_one
from service.api.answers.wanted import ParamNames, Wanted
from service.api.auth.principal import Reader, Ready
from service.api.schemas.adapter_use import model_choice
from service.api.schemas.generate import (
    DEFAULT_TEMPERATURE,
    DeltaEvent,
    DoneEvent,
    GenerateBody,
    GenerateReply,
    MergedVersion,
    Output,
)
from service.api.state import State
from service.api.streams.events import AnswerStream, Events, merged
from service.engine.request import Answer
from service.inference.inference import Inference

router = APIRouter(tags=["generation"])


@router.post("/generate", response_model=GenerateReply)
async def generate(
    request: Request, principal: Reader, inference: Ready, state: State, body: GenerateBody
) -> GenerateReply | Response:
    """Answers prompts or one conversation with the base and with adapters."""
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, _wanted(body))
    running = start(inference, request, asked)
    answer_id = f"gen-{uuid.uuid4().hex}"
    if body.stream:
        return AnswerStream(request, running, _events(request, answer_id, running, body, inference), _error_events)
    answers = await finish(request, running)
    outputs = [_output(each, answer, body, inference) for each, answer in zip(running, answers, strict=True)]
    return GenerateReply(id=answer_id, outputs=outputs)


def _wanted(body: GenerateBody) -> Wanted:
    return Wanted(
        prompts=_prompts(body),
        models=[model_choice(model) for model in body.models],
        n=body.n,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_tokens,
        timeout=body.timeout,
        names=ParamNames(grammar=body.grammar_param, adapters="adapter" if body.adapters is None else "adapters"),
    )


def _prompts(body: GenerateBody) -> list[Encode]:
    if body.messages is not None:
        return [chat_prompt([message.rendered() for message in body.messages])]
    assert body.prompt is not None
    texts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if body.template == "none":
        return [text_prompt(text) for text in texts]
    return [chat_prompt([{"role": "user", "content": text}]) for text in texts]


def _output(running: Running, answer: Answer, body: GenerateBody, inference: Inference) -> Output:
    version = running.asked.target.version
    assert answer.finish_reason != "cancelled"
    return Output(
        **_identity(running, body),
        digest=None if version is None else version.digest,
        text=answer.text,
        logprobs=None if body.logprobs is None else token_infos(inference.token_texts, answer.logprobs),
        finish_reason=answer.finish_reason,
        usage=usage_of_one(running, len(answer.token_ids)),
    )


def _identity(running: Running, body: GenerateBody) -> dict[str, Any]:
    """What every output and event begins with: which prompt, answered by what."""
    asked, parts = running.asked, running.asked.target.parts
    model = body.models[asked.model_index]
    merged = [
        MergedVersion(version=str(part.version.reference), digest=part.version.digest, weight=part.weight)
        for part in parts
    ]
    return {
        "prompt_index": asked.prompt_index,
        "adapter": model.model_dump() if isinstance(model, BaseModel) else model,
        "choice_index": asked.choice_index,
        "version": None if asked.target.version is None else str(asked.target.version.reference),
        "merged": merged if len(parts) > 1 else None,
    }


async def _events(
    request: Request, answer_id: str, running: Sequence[Running], body: GenerateBody, inference: Inference
) -> Events:
    counts = [0] * len(running)
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            counts[at] += len(delta.token_ids)
            if not (delta.text or delta.logprobs or delta.finish_reason):
                continue
            assert delta.finish_reason != "cancelled"
            event = DeltaEvent(
                **_identity(running[at], body),
                text=delta.text,
                logprobs=None if body.logprobs is None else token_infos(inference.token_texts, delta.logprobs),
                finish_reason=delta.finish_reason,
                usage=None if delta.finish_reason is None else usage_of_one(running[at], counts[at]),
            )
            yield JSONServerSentEvent(event.model_dump(), event="delta")
    done = DoneEvent(id=answer_id, usage=usage_of_all(running, sum(counts)))
    yield JSONServerSentEvent(done.model_dump(), event="done")


def _error_events(error: dict[str, Any]) -> Sequence[ServerSentEvent]:
    return [JSONServerSentEvent(error, event="error")]
