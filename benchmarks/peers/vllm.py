"""vLLM's CPU build: its own OpenAI server, every adapter in a slot."""

import os
from pathlib import Path

from peers.completions import BASE_NAME, CompletionsServer
from peers.side import NUM_ADAPTERS

_CACHE_GIBIBYTES = 2


class Vllm(CompletionsServer):
    """vLLM in float32, prefix caching off.

    Args:
        python: of the virtual environment that has vLLM.
        base: folder of the model.
        adapters: folder of PEFT folders `a0` to `a7`.
        context_tokens: of prompt and answer together.
    """

    name = "vllm"

    def __init__(self, python: Path, base: Path, adapters: Path, context_tokens: int) -> None:
        self._python, self._base, self._adapters, self._context_tokens = python, base, adapters, context_tokens
        self.environment = {
            "VLLM_CPU_KVCACHE_SPACE": str(_CACHE_GIBIBYTES),
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0))),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        # As vLLM's installation guide asks; the library comes with its requirements, at the root of the environment.
        openmp = python.parent.parent / "lib" / "libiomp5.so"
        if openmp.exists():
            self.environment["LD_PRELOAD"] = str(openmp)

    def command(self, port: int, folder: Path) -> list[str]:  # noqa: ARG002 - it keeps nothing
        """See `HttpServer`."""
        return [
            str(self._python), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port),
            "--model", str(self._base), "--served-model-name", BASE_NAME, "--dtype", "float32", "--enforce-eager",
            "--max-model-len", str(self._context_tokens), "--no-enable-prefix-caching",
            "--disable-uvicorn-access-log", "--disable-log-stats", "--enable-lora",
            "--max-loras", str(NUM_ADAPTERS), "--max-cpu-loras", str(2 * NUM_ADAPTERS), "--max-lora-rank", "16",
            "--lora-modules", *[f"a{index}={self._adapters}/a{index}" for index in range(NUM_ADAPTERS)],
        ]  # fmt: skip
