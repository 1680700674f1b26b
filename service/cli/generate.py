"""`lorad generate`: ask the base and adapters from the command line."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli.client import Client
from service.cli.console import emit_json, out
from service.cli.local import local_inference
from service.cli.options import BaseModelName, Device, DType, Json, Quantization, Server, settings
from service.settings import Settings

if TYPE_CHECKING:
    from service.engine.request import Answer
    from service.inference.target import Target

BASE = "base"
"""How the command line calls the base where adapters are named."""


def generate(
    prompts: Annotated[list[str], typer.Argument(help="One user turn each.")],
    adapter: Annotated[
        list[str] | None, typer.Option(help="Adapter reference, or 'base'; several answer side by side.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text.")] = None,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Answer prompts with the base or with adapters."""
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    adapters = [None if name == BASE else name for name in adapter or [BASE]]
    body = {"prompt": prompts, "adapters": adapters, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    outputs = _remote(chosen, body) if chosen.server else _local(chosen, body)
    if json_:
        emit_json(outputs)
        return
    several = len(outputs) > 1
    for answer in outputs:
        if several:
            model = answer["adapter"] or BASE
            out().print(Text(f"[{model}] {prompts[answer['prompt_index']]}", style="bold"))
        out().print(Text(answer["text"]))


def _remote(chosen: Settings, body: dict[str, Any]) -> list[dict[str, Any]]:
    assert chosen.server is not None
    answer: dict[str, Any] = Client(chosen.server, chosen.api_key).call("POST", "/generate", json=body)
    outputs: list[dict[str, Any]] = answer["outputs"]
    return outputs


def _local(chosen: Settings, body: dict[str, Any]) -> list[dict[str, Any]]:
    with local_inference(chosen) as inference:
        # torch is loaded by now; before it, this import would have loaded it.
        from service.engine.request import SamplingParams

        params = SamplingParams(max_tokens=body["max_tokens"], temperature=body["temperature"], seed=body["seed"])
        asked = [
            (index, name, inference.resolve(chosen.tenant, name))
            for index in range(len(body["prompt"]))
            for name in body["adapters"]
        ]
        prompts = [[{"role": "user", "content": body["prompt"][index]}] for index, _, _ in asked]
        streams = inference.engine.submit_all(
            [
                inference.request(target, inference.render(target, messages), params)
                for (_, _, target), messages in zip(asked, prompts, strict=True)
            ]
        )
        return [_output(*each, stream.answer()) for each, stream in zip(asked, streams, strict=True)]


def _output(index: int, name: str | None, target: "Target", answer: "Answer") -> dict[str, Any]:
    """As `POST /generate` gives it."""
    version = target.version
    return {
        "prompt_index": index,
        "adapter": name,
        "choice_index": 0,
        "version": None if version is None else str(version.reference),
        "digest": None if version is None else version.digest,
        "merged": None,
        "text": answer.text,
        "logprobs": None,
        "finish_reason": answer.finish_reason,
        "usage": {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": len(answer.token_ids),
            "total_tokens": answer.prompt_tokens + len(answer.token_ids),
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        },
    }
