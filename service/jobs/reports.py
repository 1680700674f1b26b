"""What a trainer tells on its standard output, as news of a job."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from service.jobs.job import JobError, NewEvent

_CODES = {
    "PreflightError": "invalid_training_file",
    "CorpusError": "invalid_training_file",
    "NoTrainingRowsError": "invalid_training_file",
    "ConfigError": "invalid_hyperparameters",
    "DivergedError": "diverged",
    "BaseModelError": "base_unavailable",
    "InvalidAdapterError": "invalid_adapter",
    "InvalidNameError": "invalid_adapter",
}
"""By the name of an error's class or of one that it is a kind of; the nearest counts."""
_PARAMS = {"invalid_training_file": "training_file", "invalid_hyperparameters": "lora"}
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_FIRST_LINES = 12
_LONGEST = 4000
"""Characters of one text."""


@dataclass
class TrainerReport:
    """What has been told since somebody last looked, and what stays known."""

    names: Mapping[str, str] = field(default_factory=dict)
    """What a job's owner knows this machine's paths as."""
    validation_file: str | None = None
    """Its id, if there is one."""
    events: list[NewEvent] = field(default_factory=list)
    training: bool = False
    step: int | None = None
    total_steps: int | None = None
    eta_seconds: float | None = None
    checkpoints: dict[int, dict[str, float | None]] = field(default_factory=dict)
    """Steps whose checkpoint is on disk and not kept elsewhere yet, with the metrics of then."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """The newest of each, under OpenAI's names."""
    result: Mapping[str, Any] | None = None
    error: JobError | None = None

    def hear(self, line: str) -> None:
        """Takes in one line; what is no event is passed over."""
        try:
            told = self._plain(json.loads(line))
        except (ValueError, RecursionError):
            return
        if isinstance(told, dict) and (hear := getattr(self, f"_hear_{told.get('event')}", None)) is not None:
            hear(told)

    def shown(self, text: str) -> str:
        """Text for a job's owner and any database: without this machine's paths, and of bounded length."""
        for path, name in self.names.items():
            text = text.replace(path, name)
        text = text.replace("\0", "").encode("utf-8", "replace").decode()
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

    def _plain(self, value: Any) -> Any:
        """What JSON columns take: PostgreSQL has no NaN, and neither NUL nor lone surrogates in text."""
        if isinstance(value, str):
            return self.shown(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, dict):
            return {self.shown(key): self._plain(each) for key, each in value.items()}
        return value

    def _hear_start(self, told: Mapping[str, Any]) -> None:
        self.training, self.total_steps = True, told["total_steps"]
        message = f"Training begins: {told['train_rows']:,} rows, {told['train_tokens']:,} tokens"
        if told["first_step"]:
            message = f"Training goes on from step {told['first_step']}"
        self.events.append(NewEvent(message=message, data=_data(told)))

    def _hear_step(self, told: Mapping[str, Any]) -> None:
        self.step, self.total_steps, self.eta_seconds = told["step"], told["total_steps"], told["eta_seconds"]
        self.metrics |= {"step": self.step, "train_loss": told["loss"]}
        data = {"step": self.step, "total_steps": self.total_steps, "train_loss": told["loss"]}
        data |= {name: told[name] for name in ("learning_rate", "grad_norm", "tokens_per_second", "eta_seconds")}
        message = f"Step {self.step}/{self.total_steps}: training loss={_shown(told['loss'])}"
        self.events.append(NewEvent(type="metrics", message=message, data=data | dict(told.get("figures") or {})))

    def _hear_eval(self, told: Mapping[str, Any]) -> None:
        loss = told["valid_loss"]
        if told["step"]:
            self.metrics |= {"valid_loss": loss, "full_valid_loss": loss}
        whose = f"Step {told['step']}" if told["step"] else "The base, before training"
        data = {"step": told["step"], "valid_loss": loss, "full_valid_loss": loss}
        message = f"{whose}: validation loss={_shown(loss)}"
        self.events.append(NewEvent(type="metrics", message=message, data=data | dict(told.get("figures") or {})))

    def _hear_checkpoint(self, told: Mapping[str, Any]) -> None:
        self.checkpoints[told["step"]] = {**self.metrics, "step": told["step"]}

    def _hear_early_stop(self, told: Mapping[str, Any]) -> None:
        message = f"Stopped early after step {told['step']}: step {told['best_step']} was the best"
        self.events.append(NewEvent(message=message, data=_data(told)))

    def _hear_warning(self, told: Mapping[str, Any]) -> None:
        self.events.append(NewEvent(level="warn", message=told["message"], data={"code": told["code"]}))

    def _hear_result(self, told: Mapping[str, Any]) -> None:
        self.result = told

    def _hear_error(self, told: Mapping[str, Any]) -> None:
        kinds, message = told["kinds"], str(told["message"])
        code = next((_CODES[kind] for kind in kinds if kind in _CODES), "training_failed")
        if any(sign in message for sign in _FULL):
            code = "disk_full"
        lines = message.splitlines()
        shown = "\n".join([*lines[:_FIRST_LINES], "…"] if len(lines) > _FIRST_LINES else lines)
        param = _PARAMS.get(code)
        if param == "training_file" and self.validation_file and self.shown(message).startswith(self.validation_file):
            param = "validation_file"
        self.error = JobError(code=code, message=shown, param=param)


def _data(told: Mapping[str, Any]) -> dict[str, JsonValue]:
    return {name: value for name, value in told.items() if name != "event"}


def _shown(loss: float | None) -> str:
    return "not a number" if loss is None or not math.isfinite(loss) else f"{loss:.4f}"
