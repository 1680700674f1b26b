"""What was chosen for a run, kept beside its checkpoints: a resumed run chooses nothing anew.

The memory that is free differs from one start to the next; another batch would be another run.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import JsonValue

from service.preflight.auto import AutoChoice
from storage.durable import staged_file
from training.config import TrainingConfig
from training.errors import CheckpointError

FILE = "auto.json"


@dataclass(frozen=True)
class Decision:
    """A run's settings, all decided."""

    config: TrainingConfig
    taken: tuple[AutoChoice, ...]
    """Of those the ones that had been left open."""

    @property
    def lineage(self) -> dict[str, JsonValue]:
        """For the version that comes of the run: what was taken, by setting."""
        return {"auto": {choice.name: choice.value for choice in self.taken}} if self.taken else {}


def keep_choices(output: Path, choices: Sequence[AutoChoice]) -> None:
    """Write what was chosen into the run's folder; what an earlier run there chose is gone."""
    (output / FILE).unlink(missing_ok=True)
    if not choices:
        return
    with staged_file(output / FILE) as staged:
        staged.write_text(json.dumps([asdict(choice) for choice in choices], indent=1) + "\n", encoding="utf-8")


def kept_choices(output: Path) -> tuple[AutoChoice, ...]:
    """What was chosen for the run in `output`; nothing where nothing was left open.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = output / FILE
    try:
        return tuple(AutoChoice(**choice) for choice in json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): give --learning-rate and --batch-size as the run began, or start "
            "without --resume"
        ) from error
