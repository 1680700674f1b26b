"""Prompts no two of which share a page of tokens, so that every side computes every prompt."""

import itertools
import random
from collections.abc import Iterator

from peers.side import MODES, NUM_ADAPTERS, Ask

_FIRST = 100_000
"""Six digits each: SmolLM2 has a token for a digit, so all prompts are equally long."""
_TOKEN_IDS = range(1000, 40_000)


def story(number: int) -> str:
    """A prompt of about 25 tokens."""
    return f"Write a short story about number {number} and the sea, with a moral at the end."


def stories() -> Iterator[str]:
    """Prompts that are all different."""
    return (story(_FIRST + number) for number in itertools.count())


def asks(mode: str, batch: int, num_requests: int) -> list[Ask]:
    """The requests of the batch of this number: the same for every side, others in each batch and mode."""
    first = _FIRST + (batch * len(MODES) + MODES.index(mode)) * num_requests
    return [Ask(story(first + index), adapter_of(mode, index)) for index in range(num_requests)]


def adapter_of(mode: str, index: int) -> str | None:
    """Whom the request of this index asks."""
    return {"base": None, "single": "a0", "mixed": f"a{index % NUM_ADAPTERS}"}[mode]


def long_prompt(num_tokens: int, seed: int) -> list[int]:
    """Token ids that mean nothing."""
    return random.Random(seed).choices(_TOKEN_IDS, k=num_tokens)
