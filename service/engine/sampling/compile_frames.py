"""What the server and the compiling process tell each other: one line of JSON for each frame."""

import json
from dataclasses import asdict, dataclass
from typing import IO, TypeVar

from service.engine.request import Grammar


@dataclass(frozen=True)
class Setup:
    """What the process needs to know once."""

    tokenizer: str
    """xgrammar's tokenizer info as JSON."""
    seconds: float
    """Processor time for one grammar; past it the process dies of SIGPROF."""
    memory_bytes: int
    """For data; past it compiling fails or the process dies."""


@dataclass(frozen=True)
class Compiled:
    """The answer to a grammar."""

    text: str
    """The compiled grammar as xgrammar's JSON, or why there is none."""
    is_valid: bool


Frame = TypeVar("Frame", Setup, Compiled, Grammar)


def write_frame(stream: IO[bytes], frame: Setup | Compiled | Grammar) -> None:
    """Sends one frame. Raises `OSError` where nobody reads any more."""
    stream.write(json.dumps(asdict(frame)).encode() + b"\n")
    stream.flush()


def read_frame(stream: IO[bytes], kind: type[Frame]) -> Frame:
    """The next frame.

    Raises:
        EOFError: the other side has ended, perhaps in the middle of a frame.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return kind(**json.loads(line))
