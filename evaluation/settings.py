"""How answers are generated."""

from dataclasses import dataclass

from evaluation.errors import SettingsError


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSettings:
    """How answers are generated; the defaults are greedy."""

    max_tokens: int = 256
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise SettingsError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if not 0 <= self.temperature < float("inf"):
            raise SettingsError(f"temperature is {self.temperature}; it must be 0 or more.")


GREEDY = GenerationSettings()
"""The likeliest token at each step, at most 256 of them."""
