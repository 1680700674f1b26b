"""What the engine is asked for, and what it answers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

FinishReason = Literal["stop", "length", "cancelled"]
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class AdapterSource:
    """An adapter version on disk; the digest is its identity, names are not."""

    digest: str
    folder: Path
    name: str = field(default="", compare=False)
    """Public reference, for metrics and messages."""

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name or self.digest


@dataclass(frozen=True)
class AdapterUse:
    """An adapter and how strongly it acts: its change of each layer's output is multiplied by `scale`."""

    source: AdapterSource
    scale: float = 1.0


@dataclass(frozen=True)
class Grammar:
    """What an answer must be, enforced token by token."""

    kind: Literal["json_object", "json_schema", "regex", "ebnf", "choice"]
    text: str = ""
    """The schema as JSON, the expression, the grammar, or the choices as a JSON list; nothing for `json_object`."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen."""

    max_tokens: int
    """0 only where prompt logprobs are asked for."""
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
    stop_token_ids: frozenset[int] = frozenset()
    """End the answer as the model's own end tokens do, `ignore_eos` or not."""
    ignore_eos: bool = False
    """Go on past the model's end tokens, for benchmarks."""
    repetition_penalty: float = 1.0
    """Divides positive logits of tokens seen in prompt or answer, multiplies negative ones (arXiv:1909.05858)."""
    presence_penalty: float = 0.0
    """Taken off the logit of every token that the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit for each time that the answer holds it."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token id and what is added to its logit."""
    logprobs: int | None = None
    """Report each new token's logprob and those of so many most likely ones; none: report nothing."""
    prompt_logprobs: int | None = None
    """As `logprobs`, for the prompt's tokens from the second on."""
    grammar: Grammar | None = None


@dataclass(frozen=True)
class TokenLogprob:
    """How likely a token was, in nats, by the model's own distribution: before temperature, penalties and bias."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens and their logprobs, likeliest first."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One answer to one prompt."""

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    stop_ids: frozenset[int]
    """Tokens that end the answer."""
    adapters: tuple[AdapterUse, ...] = ()
    """Their changes are summed; none: the base alone."""
    tenant: str = DEFAULT_TENANT
    """Whose share of the engine this takes, and whose cached prefixes it may use."""
    timeout_seconds: float | None = None
    """From submission; past it the request fails, waiting or running."""


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """How likely continuations of one context are; the context is computed once for all of them."""

    context_ids: tuple[int, ...]
    """At least one token."""
    continuations: tuple[tuple[int, ...], ...]
    """At least one, each of at least one token."""
    adapters: tuple[AdapterUse, ...] = ()
    tenant: str = DEFAULT_TENANT
    timeout_seconds: float | None = None
    """From submission; past it the scoring fails, waiting or running."""


@dataclass(frozen=True)
class Scores:
    """Per token of one continuation."""

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
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `token_ids`, where they were asked for."""
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """Of the prompt's tokens from the second on, in the delta that comes first after the prompt."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer."""

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    seconds: float
    """From submission to the last token."""
    cached_tokens: int = 0
    """Prompt tokens that were not computed again because their keys and values were in the cache."""
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Bounds of the engine."""

    max_num_seqs: int = 32
    """Requests that run at once."""
    max_num_batched_tokens: int = 2048
    """Tokens of one step; longer prompts are computed in chunks."""
    page_tokens: int = 16
    """Tokens of one page of the key-value cache."""
    cache_bytes: int = 1 << 30
    """Of all pages together."""
    prefix_caching: bool = True
    """Keep the pages of ended requests for others that begin alike, under the same adapters and tenant."""
    max_logits: int = 1 << 28
    """Logits of one step: 1 GiB in float32."""
    max_waiting: int = 1024
    """Requests that may wait; one more is refused."""
    max_loras: int = 16
    """Adapters on the device at once."""
    max_cpu_loras: int = 64
    """Adapters in host memory at once, those on the device included."""
    load_timeout_seconds: float = 60
    """An adapter that has not been read by then fails those who wait for it."""
    fused: bool = True
    """Replace attention and MLP modules of known architectures by fused ones; off: the reference path."""
