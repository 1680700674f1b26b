"""Which scorer, with what parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A scorer as a request or a suite names it."""

    name: str
    """Such as `exact_match`, `regex`, `judge`."""
    params: Mapping[str, JsonValue] = field(default_factory=dict)
