"""Checkpoints: the adapter in PEFT's format beside all that an exact continuation needs.

    step-N/adapter_config.json, adapter_model.safetensors   as published, so a checkpoint can be served
           optimizer.safetensors                            AdamW's moments by parameter name
           random.safetensors                               the generators' states (dropout draws from them)
           state.json                                       step, counters, the run's fingerprint, digests of the files

No pickle anywhere: state is tensors and JSON, and a file that does not have its recorded digest is refused.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from storage.durable import staged_folder
from training.control.best import Best
from training.errors import CheckpointError

_STATE = "state.json"
_OPTIMIZER = "optimizer.safetensors"
_RANDOM = "random.safetensors"
WriteAdapter = Callable[[Path], None]

_STEP_FOLDER = re.compile(r"step-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is."""

    step: int
    """Optimizer steps done."""
    trained_tokens: int
    seconds: float
    """Spent in steps."""
    base_valid_loss: float | None
    train_loss: float
    """Of the last step."""
    best: Best | None = None
    """None until the held-out rows were scored."""
    start_loss: float | None = None
    """The level that the run began with; None in its first steps."""

    @property
    def tokens_per_second(self) -> float:
        """0 before the first step."""
        return self.trained_tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a resumed run is given back."""

    folder: Path
    progress: Progress
    optimizer: Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints of one run under `folder`, newest `keep` of them.

    `fingerprint` says which run they belong to: a digest of its configuration, data and base.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: int) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._keep = keep

    def save(self, write_adapter: WriteAdapter, optimizer: Mapping[str, Tensor], progress: Progress) -> Path:
        """Writes a checkpoint whole or not at all, then drops the oldest beyond those kept.

        Args:
            write_adapter: fills a folder in PEFT's format.
            optimizer: see `optimizer_tensors`.
            progress: how far the run is.

        Raises:
            CheckpointError: it cannot be written, on a full disk for one; earlier checkpoints are as they were.
        """
        target = self._folder / f"step-{progress.step}"
        try:
            self._write(target, write_adapter, optimizer, progress)
        # safetensors gives a failed write its own error.
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{target} cannot be written: {error}; earlier checkpoints are intact: make room and add --resume"
            ) from error
        self._drop_old(progress)
        return target

    def folder(self, step: int) -> Path:
        """Where the checkpoint of a step is.

        Raises:
            CheckpointError: it is gone, or damaged.
        """
        folder = self._folder / f"step-{step}"
        self._checked_state(folder)
        return folder

    def describe_newest(self) -> str:
        """What a run that ends now is left with, for the text of its error."""
        present = self._present()
        return f"the last checkpoint is {present[-1][1]}" if present else "no checkpoint was written yet"

    def _write(
        self, target: Path, write_adapter: WriteAdapter, optimizer: Mapping[str, Tensor], progress: Progress
    ) -> None:
        with staged_folder(target) as staged:
            write_adapter(staged)
            save_file(dict(optimizer), staged / _OPTIMIZER)
            save_file(_random_states(), staged / _RANDOM)
            digests = {file.name: _digest(file) for file in sorted(staged.iterdir())}
            state = {"fingerprint": self._fingerprint, "progress": asdict(progress), "files": digests}
            (staged / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")

    def resume(self) -> Checkpoint | None:
        """The newest checkpoint, with the random generators set back to it; nothing when there is none.

        Raises:
            CheckpointError: it is damaged, or belongs to a run with other settings, data or base.
        """
        present = self._present()
        if not present:
            return None
        folder = present[-1][1]
        state = self._checked_state(folder)
        _restore_random(load_file(folder / _RANDOM))
        return Checkpoint(
            folder=folder, progress=_progress(state["progress"]), optimizer=load_file(folder / _OPTIMIZER)
        )

    def _drop_old(self, progress: Progress) -> None:
        step, best = progress.step, None if progress.best is None else progress.best.step
        # One that is ahead was left by an earlier run here: kept as the newest, it would push out this run's own.
        ahead = [folder for number, folder in self._present() if number > step]
        own = [folder for number, folder in self._present() if number <= step]
        for old in ahead + [folder for folder in own[: -self._keep] if folder.name != f"step-{best}"]:
            shutil.rmtree(old, ignore_errors=True)

    def _checked_state(self, folder: Path) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            damaged = [name for name, digest in state["files"].items() if _digest(folder / name) != digest]
            fingerprint = state["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{folder} cannot be read: {error}; delete it to resume from an earlier one"
            ) from error
        if damaged:
            raise CheckpointError(f"{folder}: {', '.join(damaged)} changed since it was written; delete the folder")
        if fingerprint != self._fingerprint:
            raise CheckpointError(
                f"{folder} belongs to a run with other settings, data or base (fingerprint {fingerprint}, "
                f"this run {self._fingerprint}); start without --resume or choose another --output"
            )
        return state

    def _present(self) -> list[tuple[int, Path]]:
        """Step and folder, oldest first."""
        if not self._folder.is_dir():
            return []
        names = ((_STEP_FOLDER.fullmatch(entry.name), entry) for entry in self._folder.iterdir())
        return sorted((int(match[1]), entry) for match, entry in names if match)


def _progress(stored: Mapping[str, Any]) -> Progress:
    best = stored["best"]
    return Progress(**{**stored, "best": None if best is None else Best(**best)})


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _restore_random(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state for name, state in states.items() if name != "cpu"])
