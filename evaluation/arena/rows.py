"""Between the arena's rows and what callers see."""

from typing import TypeVar, cast

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from corpus.messages import Message
from evaluation.arena.battle import Answer, Battle, Opinion, Rating, Side, Vote, Winner
from evaluation.arena.errors import TooManyBattlesError, UnknownBattleError
from evaluation.arena.tables import BattleRow, RatingRow, VoteRow

Row = TypeVar("Row", BattleRow, VoteRow, RatingRow)


def find_battle(session: Session, tenant: str, battle_id: str, *, locked: bool = False) -> BattleRow:
    """A tenant's battle; locked until the transaction ends, if asked for.

    Raises:
        UnknownBattleError: there is none of that id.
    """
    query = select(BattleRow).where(BattleRow.tenant == tenant, BattleRow.id == battle_id)
    row = session.scalar(query.with_for_update() if locked else query)
    if row is None:
        raise UnknownBattleError(battle_id)
    return row


def newest(session: Session, kind: type[Row], tenant: str, after: str | None, limit: int) -> list[Row]:
    """A tenant's rows, newest first, from the one after `after`.

    Raises:
        UnknownBattleError: there is no row `after`.
    """
    query = select(kind).where(kind.tenant == tenant)
    if after is not None:
        here = session.get(kind, after)
        if here is None or here.tenant != tenant:
            raise UnknownBattleError(after)
        query = query.where(tuple_(kind.created_at, kind.id) < (here.created_at, here.id))
    return list(session.scalars(query.order_by(kind.created_at.desc(), kind.id.desc()).limit(limit)))


def refuse_more(session: Session, kind: type[Row], tenant: str, what: str, limit: int) -> None:
    """Keep a tenant within bounds.

    Raises:
        TooManyBattlesError: as many rows of this kind are kept as may be.
    """
    count = session.scalar(select(func.count()).select_from(kind).where(kind.tenant == tenant))
    if (count or 0) >= limit:
        raise TooManyBattlesError(what, limit)


def battle_of(row: BattleRow) -> Battle:
    """Of a row."""
    return Battle(
        id=row.id,
        created_at=row.created_at,
        messages=tuple(cast("list[Message]", row.messages)),
        a=Answer(**row.a),
        b=Answer(**row.b),
        generation=row.generation,
    )


def vote_of(row: VoteRow, battle: BattleRow) -> Vote:
    """Of a row and its battle's."""
    return Vote(
        id=row.id,
        created_at=row.created_at,
        battle=battle_of(battle),
        voter=row.voter,
        winner=cast(Winner, row.winner),
        comment=row.comment,
    )


def rating_of(row: RatingRow) -> Rating:
    """Of a row."""
    return Rating(
        id=row.id,
        created_at=row.created_at,
        battle=row.battle_id,
        side=cast("Side | None", row.side),
        messages=tuple(cast("list[Message]", row.messages)),
        answer=Answer(**row.answer),
        opinion=Opinion(voter=row.voter, score=row.score, comment=row.comment),
    )
