"""llama.cpp's server: every adapter loaded, their scales set by each request."""

import os
from pathlib import Path
from typing import Any

from peers.side import NUM_ADAPTERS, HttpServer, Prompt

_NUM_SLOTS = 16


class LlamaCpp(HttpServer):
    """`llama-server` with its prompt cache off.

    Args:
        binaries: folder of `llama-server` and its libraries.
        base: a GGUF file.
        adapters: folder of `a0.gguf` to `a7.gguf`.
        context_tokens: of prompt and answer together, for each request.
    """

    name = "llama.cpp"
    mixes = False
    path = "/completion"

    def __init__(self, binaries: Path, base: Path, adapters: Path, context_tokens: int) -> None:
        self._binaries, self._base, self._adapters, self._context_tokens = binaries, base, adapters, context_tokens
        self.environment = {"LD_LIBRARY_PATH": str(binaries)}

    def command(self, port: int, folder: Path) -> list[str]:  # noqa: ARG002 - it keeps nothing
        """See `HttpServer`."""
        files = ",".join(f"{self._adapters}/a{index}.gguf" for index in range(NUM_ADAPTERS))
        return [
            f"{self._binaries}/llama-server", "--model", str(self._base), "--host", "127.0.0.1", "--port", str(port),
            "--parallel", str(_NUM_SLOTS), "--ctx-size", str(_NUM_SLOTS * self._context_tokens),
            "--threads", str(len(os.sched_getaffinity(0))), "--cache-ram", "0",
            "--lora-init-without-apply", "--lora", files,
        ]  # fmt: skip

    def body(self, prompt: Prompt, adapter: str | None, max_tokens: int) -> dict[str, Any]:
        """See `HttpServer`."""
        scales = [float(adapter == f"a{index}") for index in range(NUM_ADAPTERS)]
        return {
            "prompt": prompt,
            "n_predict": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
            "lora": [{"id": index, "scale": scale} for index, scale in enumerate(scales)],
        }

    def num_tokens(self, reply: dict[str, Any]) -> int:
        """See `HttpServer`."""
        count: int = reply["tokens_predicted"]
        return count

    def text(self, event: dict[str, Any]) -> str:
        """See `HttpServer`."""
        text: str = event["content"]
        return text
