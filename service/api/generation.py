"""From a request's prompts and models to running answers, for every route that generates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fastapi import Request

from adapters.errors import InvalidNameError
from base.rendering import raw
from service.api.disconnect import until_disconnect
from service.api.errors import ApiError, Problem, invalid
from service.api.in_flight import Answering
from service.api.keys import Principal
from service.api.request_id import access_record
from service.engine.errors import EngineClosedError
from service.engine.request import Answer, SamplingParams
from service.engine.stream import TokenStream
from service.inference import Inference, Target
from service.settings import Settings

MAX_SEQUENCES = 256
"""Answers of one request: prompts times models times n."""

Encode = Callable[[Inference, Target], Sequence[int]]
"""A prompt: its tokens, as a target wants them."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request asks for: every prompt by every model, `n` times."""

    prompts: Sequence[Encode]
    models: Sequence[str | None]
    """References as they were written; None is the base."""
    n: int = 1
    params: SamplingParams
    """`max_tokens` is replaced by the bound below."""
    max_tokens: int | None
    """None: as many as the settings say and the context allows."""
    max_tokens_param: str = "max_tokens"
    """How the request calls it, for messages."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One answer to be generated."""

    prompt_index: int
    model: str | None
    """As it was written."""
    target: Target
    prompt_ids: tuple[int, ...]
    params: SamplingParams


@dataclass(frozen=True, kw_only=True)
class Running:
    """One answer under way."""

    asked: Asked
    stream: TokenStream
    tenant: str

    @property
    def answering(self) -> Answering:
        """For the count of what is under way."""
        version = self.asked.target.version
        return Answering(tenant=self.tenant, adapter=None if version is None else version.name, work=self.stream)


def prepare(inference: Inference, settings: Settings, principal: Principal, wanted: Wanted) -> list[Asked]:
    """Resolves the models and encodes the prompts; prompt by prompt, then model by model, then n. Reads the disk.

    Raises:
        ApiError: a bound is exceeded.
        AdapterError: a model cannot be used.
        RenderingError: the template refuses the messages.
    """
    _check_bounds(wanted, settings)
    targets = [(model, resolve(inference, principal, model)) for model in wanted.models]
    asked = []
    for index, encode in enumerate(wanted.prompts):
        for model, target in targets:
            prompt_ids = tuple(encode(inference, target))
            params = _bounded(wanted, len(prompt_ids), inference.engine.context_tokens, settings)
            asked += [
                Asked(
                    prompt_index=index,
                    model=model,
                    target=target,
                    prompt_ids=prompt_ids,
                    params=replace(params, seed=_seed(params.seed, choice)),
                )
                for choice in range(wanted.n)
            ]
    return asked


def resolve(inference: Inference, principal: Principal, model: str | None) -> Target:
    """What a model's name means to this principal now.

    Raises:
        ApiError: 404, also for a name that no model could have.
        AdapterError: the model cannot be used.
    """
    try:
        return inference.resolve(principal.tenant, model)
    except InvalidNameError as error:
        problem = Problem(
            status=404,
            message=f"there is no model {(model or '')[:120]!r}; GET /v1/models lists those there are",
            code="model_not_found",
            param="model",
        )
        raise ApiError(problem) from error


def start(inference: Inference, request: Request, principal: Principal, asked: Sequence[Asked]) -> list[Running]:
    """Hands everything to the engine, or nothing.

    Raises:
        EngineError: the engine takes it not.
    """
    record = access_record(request.scope)
    record.model = ",".join(dict.fromkeys(each.target.model for each in asked))
    record.tokens_in = sum(len(each.prompt_ids) for each in asked)
    requests = [inference.request(each.target, each.prompt_ids, each.params) for each in asked]
    streams = inference.engine.submit_all(requests)
    return [
        Running(asked=each, stream=stream, tenant=principal.tenant) for each, stream in zip(asked, streams, strict=True)
    ]


async def finish(request: Request, running: Sequence[Running]) -> list[Answer]:
    """Waits for all answers, or until the client goes away.

    Raises:
        EngineError: one failed, or the server shuts down.
    """
    with request.state.lorad.lifecycle.in_flight.answering([each.answering for each in running]):
        answers = await until_disconnect(request, _answers(running))
    if any(answer.finish_reason == "cancelled" for answer in answers):
        raise EngineClosedError
    access_record(request.scope).tokens_out = sum(len(answer.token_ids) for answer in answers)
    return answers


def text_prompt(text: str) -> Encode:
    """A text with no template around it."""
    return lambda inference, _target: raw(inference.base.tokenizer, text)


def token_prompt(token_ids: Sequence[int]) -> Encode:
    """Tokens as they are."""
    return lambda _inference, _target: token_ids


def chat_prompt(messages: Sequence[dict[str, str]]) -> Encode:
    """A conversation in the model's template."""
    return lambda inference, target: inference.render(target, messages)


async def _answers(running: Sequence[Running]) -> list[Answer]:
    return [await each.stream.answer_async() for each in running]


def _check_bounds(wanted: Wanted, settings: Settings) -> None:
    most = min(MAX_SEQUENCES, settings.max_waiting)
    count = len(wanted.prompts) * len(wanted.models) * wanted.n
    if count > most:
        raise invalid(f"this asks for {count} answers at once; the limit is {most}", code="too_many_answers")
    if wanted.max_tokens is not None and wanted.max_tokens > settings.max_new_tokens:
        raise invalid(
            f"{wanted.max_tokens_param} is {wanted.max_tokens}, more than the {settings.max_new_tokens} allowed here",
            param=wanted.max_tokens_param,
        )


def _bounded(wanted: Wanted, num_prompt: int, context_tokens: int, settings: Settings) -> SamplingParams:
    most = wanted.max_tokens
    if most is None:
        most = max(1, min(settings.default_max_tokens, settings.max_new_tokens, context_tokens - num_prompt))
    if wanted.params.min_tokens > most:
        raise invalid(
            f"min_tokens is {wanted.params.min_tokens}, more than the {most} of max_tokens", param="min_tokens"
        )
    return replace(wanted.params, max_tokens=most)


def _seed(seed: int | None, choice: int) -> int | None:
    """Choices of one prompt differ, also under one seed."""
    return seed if seed is None or choice == 0 else (seed + choice) % (1 << 63)
