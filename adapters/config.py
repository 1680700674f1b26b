"""An adapter's LoRA configuration, read from and written to PEFT's `adapter_config.json`."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters.errors import InvalidAdapterError
from adapters.files import CONFIG, MAX_JSON_BYTES, parse_object, read_bytes
from adapters.peft_keys import INERT, check_keys
from adapters.peft_values import PeftValues

ALL_LINEAR = "all-linear"
MAX_RANK = 2048
MAX_PATTERNS = 2048
MAX_PATTERN_CHARS = 4096


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank updates of a base's linear layers: `W x + scaling · B A x` (LoRA, arXiv 2106.09685).

    Raises:
        InvalidAdapterError: a value is out of range.
    """

    rank: int
    alpha: float
    target_modules: tuple[str, ...] | str
    """Names or name endings of modules, a regular expression over the whole name, or `all-linear`."""
    rslora: bool = False
    """Scale by alpha/sqrt(rank) instead of alpha/rank (arXiv 2312.03732)."""
    dora: bool = False
    """Learn each output's magnitude apart from its direction (arXiv 2402.09353)."""
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Ranks of modules whose name ends in a match of the key, a regular expression."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    """Alphas of such modules."""
    exclude_modules: tuple[str, ...] | str = ()
    """Modules left out of the targets, in the same notation."""
    layers_to_transform: tuple[int, ...] | None = None
    """Only the layers of these indices."""
    layers_pattern: tuple[str, ...] = ()
    """Names of the lists that these indices count in; without any, the first number in a name is the index."""
    dropout: float = 0.0
    """Training only."""
    base_model_name: str | None = None
    """Where the base came from, as the trainer wrote it; never opened."""

    def __post_init__(self) -> None:
        for rank in (self.rank, *self.rank_pattern.values()):
            _require(1 <= rank <= MAX_RANK, "r", rank, f"1 to {MAX_RANK}")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            _require(math.isfinite(alpha) and 0 < alpha <= 1e6, "lora_alpha", alpha, "above 0, at most 1e6")
        _require(0 <= self.dropout < 1, "lora_dropout", self.dropout, "0 to below 1")
        _require(bool(self.target_modules), "target_modules", self.target_modules, "names, a pattern or 'all-linear'")
        _require(
            self.layers_to_transform is None or not isinstance(self.target_modules, str),
            "layers_to_transform", self.layers_to_transform, "null where target_modules is a pattern",
        )  # fmt: skip
        patterns = self.patterns
        _require(len(patterns) <= MAX_PATTERNS, "number of patterns", len(patterns), f"at most {MAX_PATTERNS}")
        longest = max((len(pattern) for pattern in patterns), default=0)
        _require(longest <= MAX_PATTERN_CHARS, "length of a pattern", longest, f"at most {MAX_PATTERN_CHARS}")

    @classmethod
    def from_peft(cls, values: dict[str, Any]) -> "LoraConfig":
        """Take over a parsed `adapter_config.json`.

        Raises:
            InvalidAdapterError: a key asks for what is not supported, or a value has the wrong type or range.
        """
        check_keys(values)
        return cls(**PeftValues.parse(values).fields())

    @classmethod
    def read(cls, folder: Path) -> "LoraConfig":
        """Read a folder's `adapter_config.json`.

        Raises:
            InvalidAdapterError: see `from_peft`; also when the file is missing, too large or not JSON.
        """
        return cls.from_peft(parse_object(read_bytes(folder / CONFIG, MAX_JSON_BYTES), CONFIG))

    def to_peft(self) -> dict[str, Any]:
        """The content of `adapter_config.json`: what `peft.PeftModel.from_pretrained` loads."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_model_name,
            "inference_mode": True,
            "r": self.rank,
            "lora_alpha": _whole(self.alpha),
            "lora_dropout": self.dropout,
            "target_modules": _written(self.target_modules),
            "exclude_modules": _written(self.exclude_modules) or None,
            "layers_to_transform": None if self.layers_to_transform is None else list(self.layers_to_transform),
            "layers_pattern": list(self.layers_pattern) or None,
            "rank_pattern": dict(self.rank_pattern),
            "alpha_pattern": {name: _whole(alpha) for name, alpha in self.alpha_pattern.items()},
            "use_rslora": self.rslora,
            "use_dora": self.dora,
            "bias": "none",
            "fan_in_fan_out": False,
            "modules_to_save": None,
            "init_lora_weights": True,
            **INERT,
        }

    def write(self, folder: Path) -> None:
        """Write `adapter_config.json`, the same bytes for the same configuration."""
        text = json.dumps(self.to_peft(), indent=2, sort_keys=True, allow_nan=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    def rank_of(self, module: str) -> int:
        """The rank of one module, by `rank_pattern` or the common one."""
        key = _first_match(self._rank_expressions, module)
        return self.rank_pattern.get(key, self.rank)

    def alpha_of(self, module: str) -> float:
        """The alpha of one module, by `alpha_pattern` or the common one."""
        key = _first_match(self._alpha_expressions, module)
        return self.alpha_pattern.get(key, self.alpha)

    def scaling(self, module: str) -> float:
        """The factor on `B A`."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.rslora else rank)

    @property
    def max_rank(self) -> int:
        """The largest rank of any module."""
        return max(self.rank, *self.rank_pattern.values()) if self.rank_pattern else self.rank

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every text that is matched as a regular expression."""
        whole = [text for text in (self.target_modules, self.exclude_modules) if isinstance(text, str)]
        return (*whole, *self.layers_pattern, *self.rank_pattern, *self.alpha_pattern)

    @cached_property
    def _rank_expressions(self) -> dict[str, re.Pattern[str]]:
        return _expressions(self.rank_pattern)

    @cached_property
    def _alpha_expressions(self) -> dict[str, re.Pattern[str]]:
        return _expressions(self.alpha_pattern)


def rank_expression(pattern: str) -> str:
    """What PEFT matches against a module's name for a key of `rank_pattern` or `alpha_pattern`."""
    return rf"(.*\.)?({pattern})$"


def _expressions(patterns: Mapping[str, Any]) -> dict[str, re.Pattern[str]]:
    return {pattern: re.compile(rank_expression(pattern)) for pattern in patterns}


def _first_match(expressions: Mapping[str, re.Pattern[str]], module: str) -> str:
    """The first key that matches, as PEFT chooses it, or the module's own name."""
    return next((key for key, expression in expressions.items() if expression.match(module)), module)


def _require(holds: bool, key: str, value: object, allowed: str) -> None:
    if not holds:
        raise InvalidAdapterError(f"{CONFIG}: {key} is {repr(value)[:80]}, but must be {allowed}")


def _written(names: tuple[str, ...] | str) -> list[str] | str:
    return names if isinstance(names, str) else list(names)


def _whole(alpha: float) -> float:
    """PEFT writes alpha as an integer where it is one."""
    return int(alpha) if alpha == int(alpha) else alpha
