"""The data and the outcome of one training run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adapters.config import LoraConfig
from base.loader import LoadedBase
from training.config import TrainingConfig
from training.errors import NoTrainingRowsError
from training.rows.examples import Prepared


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Token rows to learn from, and rows kept out of training to measure by."""

    train: Prepared
    valid: Prepared | None = None
    digest: str
    """`sha256:…` of the training files and their weights as they were read."""
    valid_digest: str | None = None
    initial_digest: str | None = None
    """Of the adapter's weights that the run begins with, if any."""

    def __post_init__(self) -> None:
        if not self.train.examples or (self.valid is not None and not self.valid.examples):
            raise NoTrainingRowsError("a run needs at least one usable row to train on, and one to measure by if any")


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished run reports. Losses are in nats per labelled token."""

    output: Path
    steps: int
    published_step: int
    """Whose weights the adapter has: those with the lowest held-out loss, or the last ones."""
    train_loss: float
    """Of the last step's rows."""
    valid_loss: float | None
    """Of the adapter as it is published."""
    last_valid_loss: float | None
    """After the last step."""
    base_valid_loss: float | None
    """The same rows without the adapter."""
    valid_figures: Mapping[str, float] = field(default_factory=dict)
    """What else the objective measures on them: rewards of preference pairs."""
    trained_tokens: int
    tokens_per_second: float
    seconds: float
    """Spent in optimizer steps."""
    peak_memory_bytes: int

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that say how good the adapter is, for its manifest."""
        found = {
            "published_step": float(self.published_step),
            "train_loss": self.train_loss,
            "valid_loss": self.valid_loss,
            "last_valid_loss": self.last_valid_loss,
            "base_valid_loss": self.base_valid_loss,
        }
        return {**{name: value for name, value in found.items() if value is not None}, **self.valid_figures}


def adapter_config(config: TrainingConfig, base_name: str, target_modules: tuple[str, ...]) -> LoraConfig:
    """The adapter that `config` asks for, as it will be published."""
    return LoraConfig(
        rank=config.published_rank,
        alpha=config.alpha if config.init == "default" else config.published_alpha,
        dropout=config.dropout,
        target_modules=target_modules,
        rslora=config.rslora,
        dora=config.dora,
        base_model_name=base_name,
    )


def fingerprint(base: LoadedBase, config: TrainingConfig, data: TrainingData) -> str:
    """A digest of everything that a run's path depends on: a checkpoint of another run must not be resumed."""
    total = hashlib.sha256()
    parts = [[part.num_rows, part.weight] for part in data.train.parts]
    facts = [config.model_dump(mode="json"), base.digest, base.quantization, str(base.dtype), data.initial_digest]
    total.update(json.dumps([*facts, parts], sort_keys=True).encode())
    held_out = data.valid.examples if data.valid is not None else ()
    total.update(f"{len(data.train.examples)} {len(held_out)}".encode())
    rejected = (*data.train.rejected, *(data.valid.rejected if data.valid is not None else ()))
    for example in (*data.train.examples, *held_out, *rejected):
        total.update(json.dumps([example.input_ids, example.labelled]).encode())
    return total.hexdigest()[:16]
