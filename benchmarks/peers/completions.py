"""OpenAI's `/v1/completions`, which lorad and vLLM speak alike: the model's name says which adapter."""

from typing import Any

from peers.side import HttpServer, Prompt

BASE_NAME = "smollm2"
"""What both serve the base as."""


class CompletionsServer(HttpServer):
    """A server whose adapters are models."""

    def body(self, prompt: Prompt, adapter: str | None, max_tokens: int) -> dict[str, Any]:
        """See `HttpServer`."""
        return {
            "model": adapter or BASE_NAME,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }

    def num_tokens(self, reply: dict[str, Any]) -> int:
        """See `HttpServer`."""
        count: int = reply["usage"]["completion_tokens"]
        return count

    def text(self, event: dict[str, Any]) -> str:
        """See `HttpServer`."""
        return "".join(choice["text"] for choice in event["choices"])
