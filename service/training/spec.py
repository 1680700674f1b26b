"""One training run as data: what `lorad train` builds from its flags, and what `--spec` reads. No tensors."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from corpus.columns import ColumnMapping
from corpus.sources import Source
from service.settings import DEFAULT_MODEL
from service.trackers.opening import TrackerName
from training.config import AskedConfig, TrainingConfig


class TrainingSpec(BaseModel):
    """Where a run's data, base and output are, and how it trains. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[Source, ...] = Field(min_length=1)
    """Files to learn from, each as a path or as `{path, weight}`; one alone need not be a list."""
    validation: Path | None = None
    """Rows kept out of training, to measure by."""
    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Without `validation`: keep so much of `data` out, of each file its share, by a seeded split that no repeated
    prompt crosses."""
    max_rows: int | None = Field(default=None, ge=2)
    """Train on a seeded sample of so many rows of all files together, stratified by label or else by file."""
    data_fraction: float | None = Field(default=None, gt=0, le=1)
    """Learn only this seeded share of the training rows; a smaller share is part of every larger one."""
    columns: ColumnMapping = ColumnMapping()
    skip_bad: bool = False
    """Drop and count bad rows instead of refusing the run."""

    base_model: str = DEFAULT_MODEL
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantization: Literal["none", "int8", "nf4"] = "none"
    template: Literal["auto", "chat", "plain"] = "auto"
    """How conversations become text: the base's chat template, or plain instruction headings."""

    init_from: str | None = None
    """A version in the registry (`support:3`) or a folder in PEFT's format whose weights the run begins with; its rank,
    alpha, targets and kind are taken over."""
    output: Path
    """Becomes the adapter's folder; checkpoints in `output/checkpoints`."""
    name: str | None = None
    """Publishes the adapter under this name at the end."""
    tenant: str = "default"
    trackers: tuple[TrackerName, ...] = ()
    """Also record the figures there; `metrics.jsonl` in `output` is always written."""
    resume: bool = False
    """Go on from the newest checkpoint in `output`; start anew when there is none."""
    overwrite: bool = False
    """Throw away an earlier run in `output`."""
    config: AskedConfig = AskedConfig()

    @field_validator("data", mode="before")
    @classmethod
    def _as_sources(cls, value: Any) -> Any:
        several = value if isinstance(value, list | tuple) else [value]
        return [{"path": each} if isinstance(each, str | Path) else each for each in several]

    @model_validator(mode="after")
    def _check_choices(self) -> "TrainingSpec":
        if self.validation is not None and self.validation_fraction is not None:
            raise PydanticCustomError("choice", "give either validation or validation-fraction")
        if self.resume and self.overwrite:
            raise PydanticCustomError("choice", "give either resume or overwrite")
        return self


class DecidedSpec(TrainingSpec):
    """A run whose settings are all numbers: what was left open has been chosen."""

    config: TrainingConfig = TrainingConfig()


def decided(spec: TrainingSpec, config: TrainingConfig) -> DecidedSpec:
    """`spec` with `config` in place of what was asked for."""
    return DecidedSpec(**{**dict(spec), "config": config})
