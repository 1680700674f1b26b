"""lorad's own server, on a registry of its own in the scenario's folder."""

import io
import shutil
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from peers.completions import BASE_NAME, CompletionsServer
from peers.side import MODES, NUM_ADAPTERS

LABELS = {"none": "fp32", "int8": "int8", "nf4": "nf4"}
"""How a quantization is called in a side's name."""

KERNEL_CHOICE = "(chosen)"
"""What lorad's log says of threads and kernels, measured at start: two servers are alike only if they chose alike."""

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_UPLOAD_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class LoradOptions:
    """How `lorad serve` is started."""

    base: Path
    adapters: Path
    """Folder of PEFT folders `a0` to `a7`, which are published before anything is measured."""
    quantization: str
    flags: tuple[str, ...] = ()
    workers: int = 0
    """Finetuning jobs at once; a worker without jobs would still take some of the CPU."""


class Lorad(CompletionsServer):
    """`lorad serve`; without LoRA it has room for no adapter and answers as the base only."""

    def __init__(self, options: LoradOptions, *, lora: bool = True) -> None:
        self.name = f"lorad-{LABELS[options.quantization]}{'' if lora else '-off'}"
        self.modes: Sequence[str] = MODES if lora else MODES[:1]
        self.quantization = options.quantization
        self._options = options
        self._lora = lora

    def command(self, port: int, folder: Path) -> list[str]:
        """See `HttpServer`."""
        self.home = folder / self.name
        self.environment = {"LORAD_HOME": str(self.home), "HF_HUB_OFFLINE": "1"}
        self.environment["LORAD_WORKERS"] = str(self._options.workers)
        lorad = shutil.which("lorad", path=str(Path(sys.executable).parent)) or "lorad"
        lora_flags = [] if self._lora else ["--max-loras", "0"]
        return [
            lorad, "serve", "--host", "127.0.0.1", "--port", str(port), "--base-model", str(self._options.base),
            "--served-model-name", BASE_NAME, "--quantization", self._options.quantization,
            *self._options.flags, *lora_flags,
        ]  # fmt: skip

    def start(self, folder: Path) -> None:
        """See `HttpServer`; publishes the eight adapters."""
        super().start(folder)
        if self._lora:
            for index in range(NUM_ADAPTERS):
                self.publish(f"a{index}", self._options.adapters / f"a{index}")

    def publish(self, name: str, folder: Path) -> None:
        """Uploads a PEFT folder under a name."""
        archive = io.BytesIO()
        # Stored, not compressed: weights hardly shrink.
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for file in _ADAPTER_FILES:
                packed.write(folder / file, f"{name}/{file}")
        files = {"file": (f"{name}.zip", archive.getvalue(), "application/zip")}
        url = f"{self.url}/v1/adapters"
        reply = httpx.post(url, data={"name": name}, files=files, timeout=_UPLOAD_SECONDS, trust_env=False)
        if reply.status_code != httpx.codes.CREATED:
            raise self.child.failure(f"refused adapter {name} with {reply.status_code}: {reply.text[:500]}")
