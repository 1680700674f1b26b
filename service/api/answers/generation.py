"""From a request's prompts and models to running answers, for every route that generates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fastapi import Request

from adapters.errors import InvalidNameError
from service.api.answers.bounds import bounded, check_amount, check_token_ids, timeout_of
from service.api.answers.wanted import ParamNames, Wanted
from service.api.auth.keys import Principal
from service.api.errors.mapping import problem_of
from service.api.errors.problem import ApiError, Problem
from service.api.middleware.request_id import access_record
from service.api.streams.disconnect import until_disconnect
from service.engine.errors import EngineClosedError, EngineError, InvalidAdaptersError, InvalidGrammarError
from service.engine.request import Answer, SamplingParams
from service.engine.stream import TokenStream
from service.inference.inference import Inference
from service.inference.target import ModelChoice, Target
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One answer to be generated."""

    prompt_index: int
    model_index: int
    choice_index: int
    target: Target
    prompt_ids: tuple[int, ...]
    params: SamplingParams
    timeout_seconds: float
    names: ParamNames

    def explained(self, error: InvalidGrammarError | InvalidAdaptersError) -> ApiError:
        """The error, with the parameter that is to blame for it."""
        is_grammar = isinstance(error, InvalidGrammarError)
        return blamed(error, self.names.grammar if is_grammar else self.names.adapters)


@dataclass(frozen=True, kw_only=True)
class Running:
    """One answer under way."""

    asked: Asked
    stream: TokenStream


def prepare(inference: Inference, settings: Settings, principal: Principal, wanted: Wanted) -> list[Asked]:
    """Resolves the models and encodes the prompts; prompt by prompt, then model by model, then n. Reads the disk.

    Raises:
        ApiError: a bound is exceeded, or the adapters cannot act together.
        AdapterError: a model cannot be used.
        RenderingError: the template refuses the messages.
    """
    check_amount(wanted, settings)
    check_token_ids(wanted.params, inference.num_embeddings)
    timeout_seconds = timeout_of(wanted, settings)
    targets = [resolve(inference, principal, model, wanted.names.adapters) for model in wanted.models]
    asked = []
    for prompt_index, encode in enumerate(wanted.prompts):
        for model_index, target in enumerate(targets):
            prompt_ids = tuple(encode(inference, target))
            params = bounded(wanted, len(prompt_ids), inference.engine.context_tokens, settings)
            asked += [
                Asked(
                    prompt_index=prompt_index,
                    model_index=model_index,
                    choice_index=choice,
                    target=target,
                    prompt_ids=prompt_ids,
                    params=replace(params, seed=_seed(params.seed, choice)),
                    timeout_seconds=timeout_seconds,
                    names=wanted.names,
                )
                for choice in range(wanted.n)
            ]
    return asked


def resolve(inference: Inference, principal: Principal, model: ModelChoice, param: str = "model") -> Target:
    """What a model's name means to this principal now.

    Raises:
        ApiError: 404, also for a name that no model could have; 400 where adapters cannot act together.
        AdapterError: the model cannot be used.
    """
    try:
        return inference.resolve(principal.tenant, model)
    except InvalidNameError as error:
        shown = f" {model[:120]!r}" if isinstance(model, str) else ": one of the names is malformed"
        problem = Problem(
            status=404,
            message=f"there is no model{shown}; GET /v1/models lists those there are",
            code="model_not_found",
            param=param,
        )
        raise ApiError(problem) from error
    except InvalidAdaptersError as error:
        raise blamed(error, param) from error


def blamed(error: EngineError, param: str) -> ApiError:
    """The error with the parameter that caused it."""
    return ApiError(replace(problem_of(error), param=param))


def start(inference: Inference, request: Request, asked: Sequence[Asked]) -> list[Running]:
    """Hands everything to the engine, or nothing.

    Raises:
        EngineError: the engine takes it not.
        ApiError: so too, and a parameter is to blame.
    """
    record = access_record(request.scope)
    record.model = ",".join(dict.fromkeys(each.target.model for each in asked))
    record.tokens_in = sum(len(each.prompt_ids) for each in asked)
    requests = [inference.request(each.target, each.prompt_ids, each.params, each.timeout_seconds) for each in asked]
    try:
        streams = inference.engine.submit_all(requests)
    except InvalidAdaptersError as error:
        raise asked[0].explained(error) from error
    return [Running(asked=each, stream=stream) for each, stream in zip(asked, streams, strict=True)]


async def finish(request: Request, running: Sequence[Running]) -> list[Answer]:
    """Waits for all answers, or until the client goes away.

    Raises:
        EngineError: one failed, or the server shuts down.
    """
    with request.state.lorad.lifecycle.in_flight.answering([each.stream for each in running]):
        answers = await until_disconnect(request, _answers(running))
    if any(answer.finish_reason == "cancelled" for answer in answers):
        raise EngineClosedError
    access_record(request.scope).tokens_out = sum(len(answer.token_ids) for answer in answers)
    return answers


async def _answers(running: Sequence[Running]) -> list[Answer]:
    return [await _answer(each) for each in running]


async def _answer(running: Running) -> Answer:
    try:
        return await running.stream.answer_async()
    except (InvalidGrammarError, InvalidAdaptersError) as error:
        raise running.asked.explained(error) from error


def _seed(seed: int | None, choice: int) -> int | None:
    """Choices of one prompt differ, also under one seed."""
    return seed if seed is None or choice == 0 else (seed + choice) % (1 << 63)
