"""`lorad serve`: the HTTP server."""

from typing import Annotated

import typer

from service.cli.console import say
from service.cli.options import BaseModelName, Device, DType, Quantization, settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address; beyond loopback needs LORAD_API_KEYS.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    served_model_name: Annotated[str | None, typer.Option(help="The base's public id.")] = None,
    max_loras: Annotated[
        int | None, typer.Option(help="Adapters on the device at once; 0 serves the base alone.")
    ] = None,
    max_cpu_loras: Annotated[int | None, typer.Option(help="Adapters in host memory at once.")] = None,
    max_lora_rank: Annotated[int | None, typer.Option(help="Larger ranks are refused at upload.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="Requests that run at once.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="Tokens of one step.")] = None,
    kv_cache_memory_bytes: Annotated[int | None, typer.Option(help="Of all keys and values together.")] = None,
    enable_prefix_caching: Annotated[
        bool | None, typer.Option(help="Compute the common beginning of prompts once.", show_default=False)
    ] = None,
    fused: Annotated[
        bool | None, typer.Option(help="Fused modules and compiled functions.", show_default=False)
    ] = None,
    max_waiting: Annotated[int | None, typer.Option(help="Requests that may wait; one more gets 429.")] = None,
    request_timeout: Annotated[float | None, typer.Option(help="Seconds after which a request fails.")] = None,
    shutdown_timeout: Annotated[float | None, typer.Option(help="Seconds for running requests after SIGTERM.")] = None,
) -> None:
    """Serve the base and every adapter of the registry over HTTP."""
    chosen = settings(**locals())
    from service.api.process.server import serve as run_server

    run_server(chosen, on_listening=lambda url: say(f"lorad listens on {url} (loading {chosen.base_model})"))
