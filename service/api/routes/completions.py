"""`POST /v1/completions`, as OpenAI has it: never with a template."""

import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import JSONServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.events import AnswerStream, Events, merged
from service.api.generation import Running, Wanted, finish, prepare, start, text_prompt, token_prompt
from service.api.openai_stream import DONE, dumped, error_events
from service.api.principal import Reader, Ready
from service.api.schemas.completions import CompletionChoice, CompletionRequest, TextCompletion
from service.api.schemas.openai import DEFAULT_TEMPERATURE, Usage
from service.api.state import State

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post("/completions", response_model=TextCompletion)
async def create(
    request: Request, principal: Reader, inference: Ready, state: State, body: CompletionRequest
) -> TextCompletion | Response:
    """Continues texts or tokens."""
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, _wanted(body))
    running = start(inference, request, principal, asked)
    blank = TextCompletion(
        id=f"cmpl-{uuid.uuid4().hex}", created=int(time.time()), model=asked[0].target.model, choices=[]
    )
    if body.stream:
        return AnswerStream(request, running, _events(request, blank, running, body), error_events)
    answers = await finish(request, running)
    choices = [
        CompletionChoice(index=at, text=answer.text, finish_reason=answer.finish_reason)
        for at, answer in enumerate(answers)
        if answer.finish_reason != "cancelled"
    ]
    usage = Usage.of(_prompt_tokens(running, body.n), sum(len(answer.token_ids) for answer in answers))
    return blank.model_copy(update={"choices": choices, "usage": usage})


def _wanted(body: CompletionRequest) -> Wanted:
    return Wanted(
        prompts=[text_prompt(prompt) if isinstance(prompt, str) else token_prompt(prompt) for prompt in body.prompts],
        models=[body.model],
        n=body.n,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_tokens,
    )


def _prompt_tokens(running: Sequence[Running], n: int) -> int:
    return sum(len(each.asked.prompt_ids) for each in running[::n])


async def _events(
    request: Request, blank: TextCompletion, running: Sequence[Running], body: CompletionRequest
) -> Events:
    new_tokens = 0
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            new_tokens += len(delta.token_ids)
            assert delta.finish_reason != "cancelled"
            if delta.text or delta.finish_reason is not None:
                choice = CompletionChoice(index=at, text=delta.text, finish_reason=delta.finish_reason)
                yield JSONServerSentEvent(dumped(blank, [choice], include_usage=body.include_usage))
    if body.include_usage:
        usage = Usage.of(_prompt_tokens(running, body.n), new_tokens)
        yield JSONServerSentEvent(dumped(blank.model_copy(update={"usage": usage}), [], include_usage=True))
    yield DONE
