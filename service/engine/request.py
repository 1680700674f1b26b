"""What the engine is asked for, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class AdapterSource:
    """An adapter version on disk; the digest is its identity, names are not."""

    digest: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen."""

    max_tokens: int
    min_tokens: int = 0
    """End tokens and stop strings count only after so many new tokens."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_k: int = 0
    """Sample among so many of the most likely tokens; 0: all."""
    top_p: float = 1.0
    """Sample among the fewest tokens whose probabilities reach this sum (arXiv:1904.09751)."""
    min_p: float = 0.0
    """Leave out tokens below this share of the most likely one's probability (arXiv:2407.01082)."""
    seed: int | None = None
    """The same seed gives the same text whatever else is in the batch; none: a new one each time."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    ignore_eos: bool = False
    """Go on past end tokens, for benchmarks."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One answer to one prompt."""

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    stop_ids: frozenset[int]
    """Tokens that end the answer."""
    adapter: AdapterSource | None = None
    """None: the base alone."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """How likely a sequence is: logprobs of its tokens from position `start` on."""

    token_ids: tuple[int, ...]
    start: int
    """At least 1: the first token is predicted by nothing."""
    adapter: AdapterSource | None = None


@dataclass(frozen=True)
class Scores:
    """Per token from `start` on."""

    logprobs: tuple[float, ...]
    """In nats."""
    is_greedy: tuple[bool, ...]
    """Whether the token is the most likely one."""


@dataclass(frozen=True)
class Delta:
    """A piece of an answer; the last one has a finish reason."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    seconds: float
    """From submission to the last token."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Bounds of the engine."""

    max_num_seqs: int = 32
    """Requests of one batch."""
    max_num_batched_tokens: int = 8192
    """Tokens of one pass over prompts or scored sequences, padding included; a longer one runs alone."""
    max_logits: int = 1 << 28
    """Of one scoring pass: 1 GiB in float32."""
    max_waiting: int = 1024
    """Requests that may wait; one more is refused."""
    max_loras: int = 16
    """Adapters in memory at once."""
