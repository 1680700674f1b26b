"""What a generation is to do, with everything it needs in hand."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corpus.synthetic.judging import Judging
from corpus.synthetic.recipes.recipe import Recipe
from corpus.synthetic.sieve import Sieve
from corpus.synthetic.writing import Writer
from service.generation.request import GenerationOptions


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The half of a plan that files make."""

    recipe: Recipe
    sieve: Sieve
    identity: Mapping[str, Any]
    """All that the rows depend on, besides models and how many are wanted: files by digest, options."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One generation."""

    prepared: Prepared
    options: GenerationOptions
    writer: Writer
    judging: Judging | None = None

    @property
    def digest(self) -> str:
        """Tells whether the rows of an earlier run can be gone on with: SHA-256, hexadecimal."""
        told = {
            "model": self.writer.name,
            "model_digest": self.writer.digest,
            "judge": self.judging and self.judging.name,
            **self.prepared.identity,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
