"""The seam to the model that writes: texts to be continued, and what came back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One text to be continued.

    A text with examples and not a chat turn: a small model goes on with a list of examples far better than it follows
    an instruction (ADR 25), and a large one does either.
    """

    text: str
    """Ends where the model begins to write, without a space after it."""
    max_tokens: int
    stop: tuple[str, ...]
    """Writing ends before the first of these."""
    seed: int
    """Of sampling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a model wrote."""

    text: str
    finish_reason: str
    """`stop`, `length`, or `prompt_too_long` where the model does not take what it is asked."""


class Writer(Protocol):
    """A model that writes. Synchronous."""

    @property
    def name(self) -> str:
        """What wrote: the base's id, a pinned `name:N`, or the model of an address."""

    @property
    def digest(self) -> str | None:
        """Of the weights that wrote; None where nobody can say."""

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """Continue each text.

        Yields:
            (position among the asks, reply) for each, as they finish, in any order.
        """
