"""Trainers as processes: each gets a plan and token rows as JSON, and leaves a result and an adapter.

Imports nothing of `training`: beside `benchmarks/training.py` that name is the script.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PEERS = Path(__file__).parent
_REPOSITORY = _PEERS.parents[1]
_OWN_WORKER = str(_PEERS / "training_worker.py")


@dataclass(frozen=True)
class Side:
    """One trainer in one layout, on a base in one form."""

    name: str
    layout: str
    quantization: str
    python: Path
    command: tuple[str, ...]

    @property
    def is_lorad(self) -> bool:
        """Whether it is this project's."""
        return str(self.python) == sys.executable


def lorad_side(name: str, layout: str, quantization: str = "none") -> Side:
    """This project's trainer."""
    return Side(name, layout, quantization, Path(sys.executable), (_OWN_WORKER, "train"))


def trl_side(name: str, layout: str, python: Path, quantization: str = "none") -> Side:
    """TRL's, by the interpreter of its environment."""
    return Side(name, layout, quantization, python, (str(_PEERS / "trl_worker.py"),))


def own_work(work: str, plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What `training_worker.py` finds when it does `work`."""
    return run_worker(Path(sys.executable), (_OWN_WORKER, work), plan, folder)


def environment(threads: int) -> dict[str, str]:
    """Of every process that runs this project's code, from this working tree whatever is installed."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(_REPOSITORY)}


def run_worker(python: Path, command: Sequence[str], plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs one worker on `plan` and returns what it found; its output is in `folder/log`."""
    given, result, log = folder / "plan.json", folder / "result.json", folder / "log"
    given.write_text(json.dumps(plan))
    variables = environment(plan["threads"])
    if str(python) != sys.executable:
        del variables["PYTHONPATH"]
    with log.open("w") as stream:
        done = subprocess.run(
            # -P: `peers` beside the worker has modules by the names of what it measures.
            [str(python), "-P", *command, str(given), str(result)],
            env=variables,
            stdout=stream,
            stderr=stream,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{log.read_text()[-3000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def encode(base: Path, records: Path, plan: dict[str, Any], folder: Path) -> dict[str, str]:
    """Files of a JSONL file's token rows, `rows` as they stand and `in_order` as lorad's steps take them."""
    found = own_work("encode", {**plan, "base": str(base), "records": str(records)}, folder)
    files = {name: folder / f"{records.stem}-{name}.json" for name in found}
    for name, rows in found.items():
        files[name].write_text(json.dumps(rows))
    return {name: str(file) for name, file in files.items()}
