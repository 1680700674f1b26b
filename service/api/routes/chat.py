"""`POST /v1/chat/completions`, as OpenAI has it."""

import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import JSONServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.events import AnswerStream, Events, merged
from service.api.generation import Running, Wanted, chat_prompt, finish, prepare, start
from service.api.openai_stream import DONE, dumped, error_events
from service.api.principal import Reader, Ready
from service.api.schemas.chat import (
    AnswerMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatRequest,
    ChunkChoice,
)
from service.api.schemas.openai import DEFAULT_TEMPERATURE, Usage
from service.api.state import State

router = APIRouter(prefix="/v1/chat", tags=["openai"])


@router.post("/completions", response_model=ChatCompletion)
async def create(
    request: Request, principal: Reader, inference: Ready, state: State, body: ChatRequest
) -> ChatCompletion | Response:
    """Continues a conversation."""
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, _wanted(body))
    running = start(inference, request, principal, asked)
    answer_id, created, model = f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), asked[0].target.model
    if body.stream:
        blank = ChatChunk(id=answer_id, created=created, model=model, choices=[])
        return AnswerStream(request, running, _events(request, blank, running, body), error_events)
    answers = await finish(request, running)
    choices = [
        ChatChoice(index=at, message=AnswerMessage(content=answer.text), finish_reason=answer.finish_reason)
        for at, answer in enumerate(answers)
        if answer.finish_reason != "cancelled"
    ]
    usage = Usage.of(len(asked[0].prompt_ids), sum(len(answer.token_ids) for answer in answers))
    return ChatCompletion(id=answer_id, created=created, model=model, choices=choices, usage=usage)


def _wanted(body: ChatRequest) -> Wanted:
    newer = body.max_completion_tokens is not None
    return Wanted(
        prompts=[chat_prompt([message.rendered() for message in body.messages])],
        models=[body.model],
        n=body.n,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_completion_tokens if newer else body.max_tokens,
        max_tokens_param="max_completion_tokens" if newer else "max_tokens",
    )


async def _events(request: Request, blank: ChatChunk, running: Sequence[Running], body: ChatRequest) -> Events:
    def chunk(choice: ChunkChoice) -> JSONServerSentEvent:
        return JSONServerSentEvent(dumped(blank, [choice], include_usage=body.include_usage))

    for at in range(len(running)):
        yield chunk(ChunkChoice(index=at, delta=ChatDelta(role="assistant", content="")))
    new_tokens = 0
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            new_tokens += len(delta.token_ids)
            assert delta.finish_reason != "cancelled"
            if delta.text:
                yield chunk(ChunkChoice(index=at, delta=ChatDelta(content=delta.text)))
            if delta.finish_reason is not None:
                yield chunk(ChunkChoice(index=at, delta=ChatDelta(), finish_reason=delta.finish_reason))
    if body.include_usage:
        usage = Usage.of(len(running[0].asked.prompt_ids), new_tokens)
        yield JSONServerSentEvent(dumped(blank.model_copy(update={"usage": usage}), [], include_usage=True))
    yield DONE
