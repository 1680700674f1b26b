"""`POST /v1/completions`, as OpenAI has it: never with a template."""

import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import JSONServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.answers.completion_text import CompletionText
from service.api.answers.generation import Running, finish, prepare, start
from service.api.answers.model_choice import blamed_param, openai_choice
from service.api.answers.prompts import text_prompt, token_prompt
from service.api.answers.usage import usage_of_all
from service.api.answers.wanted import ParamNames, Wanted
from service.api.auth.principal import Reader, Ready
from service.api.schemas.completions import CompletionRequest, TextCompletion
from service.api.schemas.openai import DEFAULT_TEMPERATURE
from service.api.state import State
from service.api.streams.events import AnswerStream, Events, merged
from service.api.streams.openai import DONE, dumped, error_events

router = APIRouter(prefix="/v1", tags=["openai"])


@router.post("/completions", response_model=TextCompletion)
async def create(
    request: Request, principal: Reader, inference: Ready, state: State, body: CompletionRequest
) -> TextCompletion | Response:
    """Continues texts or tokens, or says how likely they are."""
    wanted = _wanted(body, inference.model_name)
    asked = await run_in_threadpool(prepare, inference, state.settings, principal, wanted)
    running = start(inference, request, asked)
    texts = [CompletionText(inference, body, each.asked, at) for at, each in enumerate(running)]
    blank = TextCompletion(
        id=f"cmpl-{uuid.uuid4().hex}", created=int(time.time()), model=asked[0].target.model, choices=[]
    )
    if body.stream:
        return AnswerStream(request, running, _events(request, blank, running, texts, body), error_events)
    answers = await finish(request, running)
    choices = [text.whole(answer) for text, answer in zip(texts, answers, strict=True)]
    usage = usage_of_all(running, sum(len(answer.token_ids) for answer in answers))
    return blank.model_copy(update={"choices": choices, "usage": usage})


def _wanted(body: CompletionRequest, base_name: str) -> Wanted:
    return Wanted(
        prompts=[text_prompt(prompt) if isinstance(prompt, str) else token_prompt(prompt) for prompt in body.prompts],
        models=[openai_choice(body, base_name)],
        n=body.n,
        params=body.params(DEFAULT_TEMPERATURE),
        max_tokens=body.max_tokens,
        timeout=body.timeout,
        names=ParamNames(grammar=body.grammar_param, adapters=blamed_param(body)),
    )


async def _events(
    request: Request,
    blank: TextCompletion,
    running: Sequence[Running],
    texts: Sequence[CompletionText],
    body: CompletionRequest,
) -> Events:
    new_tokens = 0
    async with aclosing(merged(request, running)) as deltas:
        async for at, delta in deltas:
            new_tokens += len(delta.token_ids)
            choice = texts[at].piece(delta)
            if choice is not None:
                yield JSONServerSentEvent(dumped(blank, [choice], include_usage=body.include_usage))
    if body.include_usage:
        usage = usage_of_all(running, new_tokens)
        yield JSONServerSentEvent(dumped(blank.model_copy(update={"usage": usage}), [], include_usage=True))
    yield DONE
