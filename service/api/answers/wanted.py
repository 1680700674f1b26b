"""What a request asks for, before anything is resolved."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.api.answers.prompts import Encode
from service.engine.request import SamplingParams
from service.inference.target import ModelChoice


@dataclass(frozen=True, kw_only=True)
class ParamNames:
    """How the request calls what may be wrong with it, for messages."""

    max_tokens: str = "max_tokens"
    grammar: str = "response_format"
    adapters: str = "model"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request asks for: every prompt by every model, `n` times."""

    prompts: Sequence[Encode]
    models: Sequence[ModelChoice]
    """As they were written."""
    n: int = 1
    params: SamplingParams
    """`max_tokens` is replaced by the bound below."""
    max_tokens: int | None
    """None: as many as the settings say and the context allows."""
    timeout: float | None = None
    """Seconds; None: as the settings say."""
    names: ParamNames = field(default_factory=ParamNames)
