"""`POST /generate`: prompts by adapters, side by side in one batch."""

import uuid
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.events import AnswerStream, Events, merged
from service.api.generation import Encode, Running, Wanted, chat_prompt, finish, prepare, start, text_prompt
from service.api.principal import Reader, Ready
from service.api.schemas.generate import (
    DEFAULT_TEMPERATURE,
    DeltaEvent,
    DoneEvent,
    GenerateBody,
    GenerateReply,
    Output,
)
from service.api.schemas.openai import Usage
from service.api.state import State
from service.engine.request import Answer

router = APIRouter(tags=["generation"])


@router.post("/generate", response_model=GenerateReply)
async def generate(
    request: Request, principal: Reader, inference: Ready, state: State, body: GenerateBody
) -> GenerateReply | Response:
    """Answers prompts or one conversation with the base and with adapters."""
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, _wanted(body))
    running = start(inference, request, principal, asked)
    answer_id = f"gen-{uuid.uuid4().hex}"
    if body.stream:
        return AnswerStream(request, running, _events(request, answer_id, running), _error_events)
    answers = await finish(request, running)
    outputs = [_output(each, answer) for each, answer in zip(running, answers, strict=True)]
    return GenerateReply(id=answer_id, outputs=outputs)


def _wanted(body: GenerateBody) -> Wanted:
    return Wanted(
        prompts=_prompts(body),
        models=body.models,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_tokens,
    )


def _prompts(body: GenerateBody) -> list[Encode]:
    if body.messages is not None:
        return [chat_prompt([message.rendered() for message in body.messages])]
    assert body.prompt is not None
    texts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if body.template == "none":
        return [text_prompt(text) for text in texts]
    return [chat_prompt([{"role": "user", "content": text}]) for text in texts]


def _output(running: Running, answer: Answer) -> Output:
    asked = running.asked
    version = asked.target.version
    assert answer.finish_reason != "cancelled"
    return Output(
        prompt_index=asked.prompt_index,
        adapter=asked.model,
        version=None if version is None else str(version.reference),
        digest=None if version is None else version.digest,
        text=answer.text,
        finish_reason=answer.finish_reason,
        usage=Usage.of(len(asked.prompt_ids), len(answer.token_ids)),
    )


async def _events(request: Request, answer_id: str, running: Sequence[Running]) -> Events:
    counts = [0] * len(running)
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            counts[at] += len(delta.token_ids)
            if not delta.text and delta.finish_reason is None:
                continue
            asked = running[at].asked
            assert delta.finish_reason != "cancelled"
            event = DeltaEvent(
                prompt_index=asked.prompt_index,
                adapter=asked.model,
                version=None if asked.target.version is None else str(asked.target.version.reference),
                text=delta.text,
                finish_reason=delta.finish_reason,
                usage=None if delta.finish_reason is None else Usage.of(len(asked.prompt_ids), counts[at]),
            )
            yield JSONServerSentEvent(event.model_dump(), event="delta")
    prompt_tokens = sum(len(each.asked.prompt_ids) for each in running)
    done = DoneEvent(id=answer_id, usage=Usage.of(prompt_tokens, sum(counts)))
    yield JSONServerSentEvent(done.model_dump(), event="done")


def _error_events(error: dict[str, Any]) -> Sequence[ServerSentEvent]:
    return [JSONServerSentEvent(error, event="error")]
