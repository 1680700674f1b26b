"""The seam to whatever runs models: text out, log probabilities out, nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateRequest:
    """One continuation to be sampled."""

    model: str | None
    """Adapter reference; None is the base."""
    prompt_ids: tuple[int, ...]
    """At least one token."""
    max_tokens: int
    """Most tokens to sample, at least 1."""
    temperature: float = 0.0
    """0 takes the likeliest token at each step."""
    seed: int | None = None
    """Makes sampling above temperature 0 repeatable; None draws a fresh one."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these texts, besides the base's own end of turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The answer to one `GenerateRequest`."""

    index: int
    """Position of the request in the sequence that was passed."""
    text: str
    """Without the end of turn and without the stop text."""
    token_ids: tuple[int, ...]
    """Every sampled token, the end of turn included."""
    finish_reason: str
    """`stop` (end of turn or a stop text) or `length`."""
    prompt_tokens: int
    seconds: float
    """From submission to the last token, waiting included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreGroup:
    """Continuations of one context, to be scored and not sampled."""

    model: str | None
    """Adapter reference; None is the base."""
    context_ids: tuple[int, ...]
    """At least one token; computed once for all continuations."""
    continuations: tuple[tuple[int, ...], ...]
    """At least one, each of at least one token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredContinuation:
    """What a model thinks of one continuation; both tuples have its length."""

    logprobs: tuple[float, ...]
    """Natural logarithm of each token's probability given the context and the tokens before it; at most 0."""
    is_greedy: tuple[bool, ...]
    """For each token whether it is the likeliest at its place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredGroup:
    """The answer to one `ScoreGroup`."""

    continuations: tuple[ScoredContinuation, ...]
    """In the group's order."""


class Sampler(Protocol):
    """Runs models. Synchronous; safe to call from several threads.

    Requests of one call are independent and may name different models; an implementation batches them as it likes.
    A model that does not exist, or a sequence too long for the base, raises an error of the implementation's.
    """

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
        """Sample a continuation for each request.

        Yields:
            One completion for each request, as they finish, in any order; `Completion.index` says whose it is.
        """

    def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
        """Score given continuations.

        Returns:
            One scored group for each group, in order.
        """
