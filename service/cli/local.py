"""The engine in this process, for commands that were given no server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.cli.console import say
from service.settings import Settings

if TYPE_CHECKING:
    from service.inference.inference import Inference


@contextmanager
def local_inference(settings: Settings) -> "Iterator[Inference]":
    """The base that the settings name, loaded, with the registry of `LORAD_HOME`, for the time of the block."""
    # torch is loaded here and not sooner: the command line's help must not wait for it.
    from base.source import locate
    from service.inference.inference import Inference
    from service.registry.opening import open_registry

    inference = Inference.open(locate(settings.base_model, settings.bases, say), open_registry(settings), settings)
    try:
        yield inference
    finally:
        inference.close()
