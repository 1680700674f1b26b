"""`POST /v1/chat/completions`, as OpenAI has it."""

import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import JSONServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.answers.generation import Running, finish, prepare, start
from service.api.answers.logprobs import chat_logprobs
from service.api.answers.model_choice import blamed_param, openai_choice
from service.api.answers.prompts import chat_prompt
from service.api.answers.usage import usage_of_all
from service.api.answers.wanted import ParamNames, Wanted
from service.api.auth.principal import Reader, Ready
from service.api.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatRequest,
    ChunkChoice,
)
from service.api.schemas.openai import DEFAULT_TEMPERATURE
from service.api.state import State
from service.api.streams.events import AnswerStream, Events, merged
from service.api.streams.openai import DONE, dumped, error_events
from service.inference.inference import Inference

router = APIRouter(prefix="/v1/chat", tags=["openai"])


@router.post("/completions", response_model=ChatCompletion)
async def create(
    request: Request, principal: Reader, inference: Ready, state: State, body: ChatRequest
) -> ChatCompletion | Response:
    """Continues a conversation."""
    wanted = _wanted(body, inference.model_name)
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, wanted)
    running = start(inference, request, asked)
    answer_id, created, model = f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), asked[0].target.model
    if body.stream:
        blank = ChatChunk(id=answer_id, created=created, model=model, choices=[])
        return AnswerStream(request, running, _events(request, blank, running, body, inference), error_events)
    answers = await finish(request, running)
    choices = [
        ChatChoice(
            index=at,
            message=AnswerMessage(content=answer.text),
            logprobs=chat_logprobs(inference.token_texts, answer.logprobs) if body.logprobs else None,
            finish_reason=answer.finish_reason,
        )
        for at, answer in enumerate(answers)
        if answer.finish_reason != "cancelled"
    ]
    usage = usage_of_all(running, sum(len(answer.token_ids) for answer in answers))
    return ChatCompletion(id=answer_id, created=created, model=model, choices=choices, usage=usage)


def _wanted(body: ChatRequest, base_name: str) -> Wanted:
    newer = body.max_completion_tokens is not None
    return Wanted(
        prompts=[chat_prompt([message.rendered() for message in body.messages])],
        models=[openai_choice(body, base_name)],
        n=body.n,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_completion_tokens if newer else body.max_tokens,
        timeout=body.timeout,
        names=ParamNames(
            max_tokens="max_completion_tokens" if newer else "max_tokens",
            grammar=body.grammar_param,
            adapters=blamed_param(body),
        ),
    )


async def _events(
    request: Request, blank: ChatChunk, running: Sequence[Running], body: ChatRequest, inference: Inference
) -> Events:
    def chunk(choice: ChunkChoice) -> JSONServerSentEvent:
        return JSONServerSentEvent(dumped(blank, [choice], include_usage=body.include_usage))

    for at in range(len(running)):
        yield chunk(ChunkChoice(index=at, delta=ChatDelta(role="assistant", content="")))
    new_tokens = 0
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            new_tokens += len(delta.token_ids)
            assert delta.finish_reason != "cancelled"
            if delta.text or delta.logprobs:
                logprobs = chat_logprobs(inference.token_texts, delta.logprobs) if body.logprobs else None
                yield chunk(ChunkChoice(index=at, delta=ChatDelta(content=delta.text), logprobs=logprobs))
            if delta.finish_reason is not None:
                yield chunk(ChunkChoice(index=at, delta=ChatDelta(), finish_reason=delta.finish_reason))
    if body.include_usage:
        usage = usage_of_all(running, new_tokens)
        yield JSONServerSentEvent(dumped(blank.model_copy(update={"usage": usage}), [], include_usage=True))
    yield DONE
