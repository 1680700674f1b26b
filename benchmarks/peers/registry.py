"""Many adapters on one of our servers, and the files they lie in."""

import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from peers.lorad import Lorad
from peers.random_adapters import linear_shapes, write_adapter


class Registry:
    """Random adapters `r0`, `r1`, … published on a server, none of them ever asked for before.

    Args:
        server: running.
        base: folder of the model, for the shapes.
        num_adapters: to be made.
        say: told how far it is.
    """

    def __init__(self, server: Lorad, base: Path, num_adapters: int, say: Callable[[str], None]) -> None:
        self.names = [f"r{index}" for index in range(num_adapters)]
        self._home = server.home
        shapes = linear_shapes(base)
        with tempfile.TemporaryDirectory() as folder:
            for index, name in enumerate(self.names):
                write_adapter(Path(folder), shapes, seed=index)
                server.publish(name, Path(folder))
                if index % 50 == 49:
                    say(f"{server.name}: {index + 1} of {num_adapters} adapters published")
        self._drop_cached_pages()

    def coldest(self) -> Iterator[str]:
        """Names, the one asked for longest ago first, as long as all are taken from here."""
        return cycle(self.names)

    def _drop_cached_pages(self) -> None:
        """Lets the next reading of an adapter come from the disk and not from the system's page cache."""
        os.sync()
        for path in self._home.rglob("*.safetensors"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
