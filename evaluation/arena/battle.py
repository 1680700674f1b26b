"""Two answers to one conversation, and what people say about answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from corpus.messages import Message

Side = Literal["a", "b"]
Winner = Literal["a", "b", "tie"]
MIN_SCORE, MAX_SCORE = 1, 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a model said."""

    model: str
    """The pinned `name:N`, or the base's public name."""
    digest: str
    """Of that version, or of the base."""
    text: str
    finish_reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Battle:
    """Two models' answers to the same conversation, on sides that chance gave them."""

    id: str
    created_at: datetime
    messages: tuple[Message, ...]
    a: Answer
    b: Answer
    generation: Mapping[str, JsonValue]
    """How both were sampled."""

    def answer(self, side: Side) -> Answer:
        """The answer on one side."""
        return self.a if side == "a" else self.b


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One voter's choice between the answers of a battle."""

    id: str
    created_at: datetime
    battle: Battle
    voter: str
    winner: Winner
    comment: str


@dataclass(frozen=True, slots=True)
class Ballot:
    """A battle and how often each side was chosen."""

    battle: Battle
    counts: Mapping[Winner, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Opinion:
    """What somebody thinks of one answer."""

    voter: str
    score: int
    """1 (bad) to 5 (good)."""
    comment: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating:
    """An opinion that is kept with the answer it is about."""

    id: str
    created_at: datetime
    battle: str | None
    """The battle the answer is of, if any."""
    side: Side | None
    messages: tuple[Message, ...]
    answer: Answer
    opinion: Opinion
