"""How much a request may ask for."""

from dataclasses import replace

from service.api.answers.wanted import Wanted
from service.api.errors.problem import invalid
from service.engine.request import SamplingParams
from service.settings import Settings

MAX_SEQUENCES = 256
"""Answers of one request: prompts times models times n."""


def check_amount(wanted: Wanted, settings: Settings) -> None:
    """Refuses more answers or longer ones than are allowed here.

    Raises:
        ApiError: 400, with the parameter named.
    """
    most = min(MAX_SEQUENCES, settings.max_waiting)
    count = len(wanted.prompts) * len(wanted.models) * wanted.n
    if count > most:
        raise invalid(f"this asks for {count} answers at once; the limit is {most}", code="too_many_answers")
    if wanted.max_tokens is not None and wanted.max_tokens > settings.max_new_tokens:
        raise invalid(
            f"{wanted.names.max_tokens} is {wanted.max_tokens}, more than the {settings.max_new_tokens} allowed here",
            param=wanted.names.max_tokens,
        )


def check_token_ids(params: SamplingParams, num_embeddings: int) -> None:
    """Refuses tokens that the base does not have.

    Raises:
        ApiError: 400, with the parameter named.
    """
    for param, token_ids in (
        ("logit_bias", [token for token, _ in params.logit_bias]),
        ("stop_token_ids", params.stop_token_ids),
    ):
        if any(token >= num_embeddings for token in token_ids):
            raise invalid(f"{param} names a token id outside 0 to {num_embeddings - 1}", param=param)


def timeout_of(wanted: Wanted, settings: Settings) -> float:
    """Seconds that the request has.

    Raises:
        ApiError: 400, it asks for more than the server gives.
    """
    most = settings.request_timeout
    if wanted.timeout is not None and wanted.timeout > most:
        raise invalid(f"timeout is {wanted.timeout:g} s, more than the {most:g} allowed here", param="timeout")
    return most if wanted.timeout is None else wanted.timeout


def bounded(wanted: Wanted, num_prompt: int, context_tokens: int, settings: Settings) -> SamplingParams:
    """The parameters with the number of new tokens, for a prompt of `num_prompt` tokens.

    Raises:
        ApiError: 400, more tokens are demanded than allowed.
    """
    most = wanted.max_tokens
    if most is None:
        most = max(1, min(settings.default_max_tokens, settings.max_new_tokens, context_tokens - num_prompt))
    if wanted.params.min_tokens > most:
        raise invalid(
            f"min_tokens is {wanted.params.min_tokens}, more than the {most} of max_tokens", param="min_tokens"
        )
    return replace(wanted.params, max_tokens=most)
