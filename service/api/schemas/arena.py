"""`/v1/arena`: battles, votes, ratings and the leaderboard. Who is who is told to voters who have voted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from evaluation.arena.battle import MAX_SCORE, MIN_SCORE, Answer, Battle, Opinion, Rating, Side, Vote, Winner
from evaluation.arena.leaderboard import Leaderboard, Standing
from evaluation.arena.ranking import Strength
from service.api.schemas.messages import Messages
from service.api.schemas.sampling import MaxTokens
from service.api.schemas.schema import MAX_MODELS, MAX_TEXT_CHARS, ModelName, Reply, Schema, Text
from service.page import Page

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Voter = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
Comment = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00]*$")]
BattleId = Annotated[str, Field(min_length=1, max_length=64)]


class Conversation(Schema):
    """What is to be answered."""

    prompt: Text | None = None
    """One user turn."""
    messages: Messages | None = None

    @model_validator(mode="after")
    def _check_conversation(self) -> "Conversation":
        if self.prompt is not None and self.messages is not None:
            raise PydanticCustomError("invalid_value", "give either prompt or messages", {"parameter": "prompt"})
        if self.messages is not None and self.messages[-1].role == "assistant":
            raise PydanticCustomError(
                "invalid_value", "the last message must not be by the assistant", {"parameter": "messages"}
            )
        return self

    @property
    def rendered(self) -> list[dict[str, str]]:
        """The messages; none where the request names none."""
        if self.messages is not None:
            return [message.rendered() for message in self.messages]
        return [] if self.prompt is None else [{"role": "user", "content": self.prompt}]


class BattleBody(Conversation):
    """A conversation for two models."""

    models: Annotated[list[ModelName | None], Field(min_length=2, max_length=MAX_MODELS)] | None = None
    """Chance picks two of these; null is the base. Default: the base and the newest version of every adapter."""
    max_tokens: MaxTokens | None = None
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int | None = Field(default=None, ge=-(1 << 63), le=(1 << 63) - 1)

    @model_validator(mode="after")
    def _check_given(self) -> "BattleBody":
        if not self.rendered:
            raise PydanticCustomError("invalid_value", "give either prompt or messages", {"parameter": "prompt"})
        return self


class VoteBody(Schema):
    """One voter's choice."""

    battle: BattleId
    winner: Winner
    voter: Voter | None = None
    """Who votes, as the caller knows them; each votes once on a battle. Default: the key's tenant."""
    comment: Comment = ""


class RatingBody(Conversation):
    """A score for one answer: of a battle, or given elsewhere."""

    battle: BattleId | None = None
    side: Side | None = None
    """Of the battle."""
    model: ModelName | None = None
    """Without a battle: what answered; null is the base."""
    answer: Text | None = None
    """Without a battle."""
    score: int = Field(ge=MIN_SCORE, le=MAX_SCORE)
    """1 (bad) to 5 (good)."""
    voter: Voter | None = None
    comment: Comment = ""

    @model_validator(mode="after")
    def _check_answer(self) -> "RatingBody":
        elsewhere = bool(self.rendered), self.answer is not None
        if self.battle is None and (not all(elsewhere) or self.side is not None):
            raise PydanticCustomError(
                "invalid_value", "give battle and side, or prompt, model and answer", {"parameter": "answer"}
            )
        if self.battle is not None and (self.side is None or any(elsewhere) or self.model is not None):
            raise PydanticCustomError(
                "invalid_value", "with battle give side, and no prompt, model or answer", {"parameter": "side"}
            )
        return self

    def opinion(self, tenant: str) -> Opinion:
        """For the arena."""
        return Opinion(voter=self.voter or tenant, score=self.score, comment=self.comment)


class SavedCaseBody(Conversation):
    """An answer, or what it should have been, that becomes a case of a suite."""

    suite: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Its newest version is followed by one with the case in it; a new name begins a suite."""
    battle: BattleId | None = None
    side: Side | None = None
    """Of the battle: whose answer is right."""
    completion: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS)] | None = None
    """What should be said; default the battle's answer."""
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=16)] = Field(
        default_factory=list
    )
    fields: dict[str, JsonValue] = Field(default_factory=dict, max_length=64)
    """What the suite's scorers read beside."""

    @model_validator(mode="after")
    def _check_case(self) -> "SavedCaseBody":
        if (self.battle is None) != bool(self.rendered):
            raise PydanticCustomError("invalid_value", "give either battle or prompt", {"parameter": "battle"})
        if self.completion is None and (self.battle is None or self.side is None):
            raise PydanticCustomError(
                "invalid_value", "give completion, or battle and the side that is right", {"parameter": "completion"}
            )
        return self


class BlindAnswer(Reply):
    """An answer, and nothing that tells whose it is."""

    text: str
    finish_reason: str


class Names(Reply):
    """Who stood where."""

    a: str
    b: str


class BattleReply(Reply):
    """Two answers to one conversation."""

    id: str
    object: Literal["arena.battle"] = "arena.battle"
    created_at: datetime
    messages: list[dict[str, Any]]
    a: BlindAnswer
    b: BlindAnswer
    generation: dict[str, JsonValue]
    """How both were sampled."""
    winner: Winner | None
    """The voter's choice; null before it."""
    models: Names | None
    """null until the voter has voted."""

    @classmethod
    def of(cls, battle: Battle, winner: Winner | None) -> "BattleReply":
        """Of a battle, for a voter who has chosen so or not yet."""
        return cls(
            id=battle.id,
            created_at=battle.created_at,
            messages=[dict(message) for message in battle.messages],
            a=_blind(battle.a),
            b=_blind(battle.b),
            generation=dict(battle.generation),
            winner=winner,
            models=None if winner is None else _names(battle),
        )


class BattleList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[BattleReply]
    has_more: bool


class BattleDeleted(Reply):
    """What is gone, with its votes and ratings."""

    id: str
    object: Literal["arena.battle"] = "arena.battle"
    deleted: Literal[True] = True


class VoteReply(Reply):
    """A choice, and who was chosen from."""

    id: str
    object: Literal["arena.vote"] = "arena.vote"
    created_at: datetime
    battle: str
    voter: str
    winner: Winner
    comment: str
    models: Names

    @classmethod
    def of(cls, vote: Vote) -> "VoteReply":
        """Of a vote."""
        return cls(
            id=vote.id,
            created_at=vote.created_at,
            battle=vote.battle.id,
            voter=vote.voter,
            winner=vote.winner,
            comment=vote.comment,
            models=_names(vote.battle),
        )


class VoteList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[VoteReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[Vote]) -> "VoteList":
        """Of a page."""
        return cls(data=[VoteReply.of(vote) for vote in page.data], has_more=page.has_more)


class RatingReply(Reply):
    """A score for one answer."""

    id: str
    object: Literal["arena.rating"] = "arena.rating"
    created_at: datetime
    battle: str | None
    side: Side | None
    voter: str
    score: int
    comment: str
    text: str
    model: str | None
    """null where it is a battle's secret."""

    @classmethod
    def of(cls, rating: Rating, *, told: bool) -> "RatingReply":
        """Of a rating, for somebody who may be told whose answer it is about, or not."""
        return cls(
            id=rating.id,
            created_at=rating.created_at,
            battle=rating.battle,
            side=rating.side,
            voter=rating.opinion.voter,
            score=rating.opinion.score,
            comment=rating.opinion.comment,
            text=rating.answer.text,
            model=rating.answer.model if told else None,
        )


class RatingList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[RatingReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[Rating]) -> "RatingList":
        """Of a page."""
        return cls(data=[RatingReply.of(rating, told=True) for rating in page.data], has_more=page.has_more)


class StrengthReply(Reply):
    """A rating on Elo's scale: 400 points are odds of ten to one."""

    rating: float
    low: float
    high: float

    @classmethod
    def of(cls, strength: Strength) -> "StrengthReply":
        """Of a strength and its 95% interval."""
        return cls(rating=strength.rating, low=strength.interval.low, high=strength.interval.high)


class StandingReply(Reply):
    """One model's place."""

    model: str
    rank: int
    """One more for each model that is surely stronger; equals share a rank."""
    bradley_terry: StrengthReply
    elo: StrengthReply
    wins: int
    losses: int
    ties: int
    bounded: bool
    """false: it never lost, or never won; the interval says less than it seems to."""
    num_ratings: int
    mean_score: float | None
    """1 to 5."""

    @classmethod
    def of(cls, standing: Standing) -> "StandingReply":
        """Of a standing."""
        return cls(
            model=standing.model,
            rank=standing.rank,
            bradley_terry=StrengthReply.of(standing.bradley_terry),
            elo=StrengthReply.of(standing.elo),
            wins=standing.wins,
            losses=standing.losses,
            ties=standing.ties,
            bounded=standing.is_bounded,
            num_ratings=standing.num_ratings,
            mean_score=standing.mean_score,
        )


class LeaderboardReply(Reply):
    """The strongest first."""

    object: Literal["arena.leaderboard"] = "arena.leaderboard"
    data: list[StandingReply]
    num_votes: int
    comparable: bool
    """false: some models are linked by no chain of wins and ties, and how they compare is a guess."""

    @classmethod
    def of(cls, board: Leaderboard) -> "LeaderboardReply":
        """Of a leaderboard."""
        return cls(
            data=[StandingReply.of(standing) for standing in board.standings],
            num_votes=board.num_votes,
            comparable=board.is_comparable,
        )


def battle_list(page: Page[Battle], winners: Sequence[Winner | None]) -> BattleList:
    """A page of battles with the voter's choice on each."""
    replies = [BattleReply.of(battle, winner) for battle, winner in zip(page.data, winners, strict=True)]
    return BattleList(data=replies, has_more=page.has_more)


def _blind(answer: Answer) -> BlindAnswer:
    return BlindAnswer(text=answer.text, finish_reason=answer.finish_reason)


def _names(battle: Battle) -> Names:
    return Names(a=battle.a.model, b=battle.b.model)
