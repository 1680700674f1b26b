"""A sweep as its TOML file says it: which settings are tried, how, and how often."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from service.errors import SettingsError
from training.config import TrainingConfig

Value = bool | int | float | str | None


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Dimension(_Part):
    """The values one setting may take: `choices`, or a range from `low` to `high`."""

    choices: tuple[Value, ...] | None = Field(default=None, min_length=1)
    low: float | None = None
    high: float | None = None
    log: bool = False
    """Draw the range's logarithm evenly: for learning rates."""
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_kind(self) -> "Dimension":
        has_range = (self.low is not None, self.high is not None)
        if any(has_range) != all(has_range) or any(has_range) == (self.choices is not None):
            raise PydanticCustomError("dimension", "give either choices, or low and high")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise PydanticCustomError("dimension", "low must be below high")
            if self.log and (self.low <= 0 or self.step is not None):
                raise PydanticCustomError("dimension", "log needs a low above 0, and no step")
        return self

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that are within a setting's bounds only if all are."""
        return self.choices if self.choices is not None else (self.low, self.high)


class Pruning(_Part):
    """Trials that do worse than half of the others did at the same step are given up (the median rule)."""

    enabled: bool = True
    startup_trials: int = Field(default=4, ge=1)
    """So many trials run to their end first."""
    warmup_steps: int = Field(default=0, ge=0)
    """No trial is given up before this step."""


class Sweep(_Part):
    """The whole file. Unknown keys are refused."""

    trials: int = Field(ge=1, le=10_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    sampler: Literal["tpe", "random"] = "tpe"
    pruning: Pruning = Pruning()
    space: dict[str, Dimension] = Field(min_length=1)
    """By setting of `TrainingConfig`."""

    def distributions(self) -> dict[str, BaseDistribution]:
        """As optuna draws from them."""
        return {name: _distribution(name, dimension) for name, dimension in self.space.items()}


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep's file.

    Raises:
        SettingsError: names the key or setting that does not fit, and what would.
    """
    try:
        sweep = Sweep.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"--sweep {path} cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"--sweep {path} is not TOML: {error}") from error
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        raise SettingsError(f"--sweep {path}: {'.'.join(map(str, item['loc']))}: {item['msg']}") from error
    for name, dimension in sweep.space.items():
        _check_setting(path, name, dimension)
    return sweep


def _check_setting(path: Path, name: str, dimension: Dimension) -> None:
    if name not in TrainingConfig.model_fields:
        near = difflib.get_close_matches(name, TrainingConfig.model_fields, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; settings: {', '.join(TrainingConfig.model_fields)}"
        raise SettingsError(f"--sweep {path}: space.{name} is no training setting{hint}")
    if name == "seed":
        raise SettingsError(f"--sweep {path}: space.seed would change the rows held out, which all trials must share")
    for value in dimension.extremes:
        values: Mapping[str, Any] = {name: _as_setting(name, value)}
        try:
            TrainingConfig.model_validate(values)
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise SettingsError(f"--sweep {path}: space.{name}: {message} (given: {value!r})") from error
    if dimension.choices is None and not _is_number(name):
        raise SettingsError(f"--sweep {path}: space.{name} is no number: give choices instead of low and high")


def _distribution(name: str, dimension: Dimension) -> BaseDistribution:
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None
    assert dimension.high is not None
    if _is_whole(name):
        step = 1 if dimension.step is None else int(dimension.step)
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _as_setting(name: str, value: Value) -> Value:
    # TOML's 8 and a range's 8.0 are the same to a person.
    return int(value) if _is_whole(name) and isinstance(value, float) and value == int(value) else value


def _is_whole(name: str) -> bool:
    return TrainingConfig.model_fields[name].annotation in (int, int | None)


def _is_number(name: str) -> bool:
    return _is_whole(name) or TrainingConfig.model_fields[name].annotation in (float, float | None)
