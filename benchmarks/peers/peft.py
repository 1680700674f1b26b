"""PEFT's mixed batch (`adapter_names`): no server, one static batch at a time, in a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers.child import Child
from peers.side import MODES, Batch

_HERE = Path(__file__).parent


class Peft:
    """Plain PEFT on transformers' `generate`, in float32.

    Args:
        base: folder of the model.
        adapters: folder of PEFT folders `a0` to `a7`.
    """

    name = "peft"
    modes: Sequence[str] = MODES
    child: Child

    def __init__(self, base: Path, adapters: Path) -> None:
        self._base, self._adapters = base, adapters

    def start(self, folder: Path) -> None:
        """See `Side`."""
        # As a module of the folder above: `import peft` must not find this file.
        environment = {"PYTHONPATH": str(_HERE.parent), "HF_HUB_OFFLINE": "1"}
        threads = str(len(os.sched_getaffinity(0)))
        command = [sys.executable, "-m", "peers.peft_worker", str(self._base), str(self._adapters), threads]
        self.child = Child(command, environment, folder / "peft.log", piped=True)
        assert self._reply()["ready"]

    async def answer(self, batch: Batch) -> float:
        """See `Side`."""
        names = [ask.adapter for ask in batch.asks]
        line = {"prompts": [ask.prompt for ask in batch.asks], "adapters": names, "new_tokens": batch.new_tokens}
        seconds: float = (await asyncio.to_thread(self._call, line))["seconds"]
        return seconds

    def _call(self, line: dict[str, Any]) -> dict[str, Any]:
        assert self.child.process.stdin is not None
        self.child.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.child.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.child.process.stdout is not None
        line = self.child.process.stdout.readline()
        if not line:
            raise self.child.failure("ended")
        reply: dict[str, Any] = json.loads(line)
        return reply
