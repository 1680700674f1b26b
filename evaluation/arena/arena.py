"""Every tenant's battles, votes and ratings."""

import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from random import Random
from typing import cast

from pydantic import JsonValue
from sqlalchemy import func, select, tuple_

from corpus.messages import Message
from evaluation.arena.battle import Answer, Ballot, Battle, Opinion, Rating, Side, Vote, Winner
from evaluation.arena.errors import AlreadyVotedError, TooManyBattlesError, UnknownContestantError
from evaluation.arena.rows import battle_of, find_battle, newest, rating_of, refuse_more, vote_of
from evaluation.arena.tables import BattleRow, RatingRow, VoteRow
from storage.clock import now_of
from storage.database import Database

MAX_BATTLES = 100_000
"""Of one tenant; so of its ratings."""
MAX_VOTES_OF_BATTLE = 1000
"""Voters name themselves, so that one key could vote without end."""
_BATCH = 500


class Arena:
    """Keeps battles and what people say of them. Every method sees one tenant only; safe for threads and processes.

    Args:
        database: migrated.
        chance: decides who stands where; nobody may foresee it.
        max_battles: of one tenant; so of its ratings.
    """

    def __init__(self, database: Database, chance: Random | None = None, max_battles: int = MAX_BATTLES) -> None:
        self._database = database
        self._chance = chance or secrets.SystemRandom()
        self._max_battles = max_battles

    def create(
        self,
        tenant: str,
        messages: Sequence[Message],
        answers: tuple[Answer, Answer],
        generation: Mapping[str, JsonValue],
    ) -> Battle:
        """Lets two answers meet, on sides that chance gives them.

        Raises:
            TooManyBattlesError: the tenant keeps as many as it may.
        """
        a, b = self._chance.sample(answers, 2)
        with self._database.session() as session:
            self._database.serialise(session, f"arena of {tenant}")
            refuse_more(session, BattleRow, tenant, "battles", self._max_battles)
            row = BattleRow(
                id=_new_id("battle"),
                tenant=tenant,
                created_at=now_of(session),
                messages=[dict(message) for message in messages],
                generation=dict(generation),
                a_model=a.model,
                b_model=b.model,
                a=asdict(a),
                b=asdict(b),
            )
            session.add(row)
        return battle_of(row)

    def get(self, tenant: str, battle_id: str) -> Battle:
        """One battle.

        Raises:
            UnknownBattleError: there is none of that id.
        """
        with self._database.reading() as session:
            return battle_of(find_battle(session, tenant, battle_id))

    def list(self, tenant: str, after: str | None = None, limit: int = 100) -> Sequence[Battle]:
        """Battles, newest first, from the one after `after`.

        Raises:
            UnknownBattleError: there is no battle `after`.
        """
        with self._database.reading() as session:
            return [battle_of(row) for row in newest(session, BattleRow, tenant, after, limit)]

    def delete(self, tenant: str, battle_id: str) -> None:
        """Forgets a battle with its votes and ratings.

        Raises:
            UnknownBattleError: there is none of that id.
        """
        with self._database.session() as session:
            session.delete(find_battle(session, tenant, battle_id))

    def vote(self, tenant: str, battle_id: str, voter: str, winner: Winner, comment: str = "") -> Vote:
        """Keeps one voter's choice.

        Raises:
            UnknownBattleError: there is no such battle.
            AlreadyVotedError: the voter has chosen before.
            TooManyBattlesError: the battle has as many votes as it may.
        """
        with self._database.session() as session:
            battle = find_battle(session, tenant, battle_id, locked=True)
            known = select(VoteRow.id).where(VoteRow.battle_id == battle_id, VoteRow.voter == voter)
            if session.scalar(known) is not None:
                raise AlreadyVotedError(battle_id, voter)
            count = select(func.count()).select_from(VoteRow).where(VoteRow.battle_id == battle_id)
            if (session.scalar(count) or 0) >= MAX_VOTES_OF_BATTLE:
                raise TooManyBattlesError(f"votes on {battle_id}", MAX_VOTES_OF_BATTLE)
            row = VoteRow(
                id=_new_id("vote"),
                tenant=tenant,
                created_at=now_of(session),
                battle_id=battle_id,
                voter=voter,
                winner=winner,
                comment=comment,
            )
            session.add(row)
        return vote_of(row, battle)

    def voted(self, tenant: str, voter: str, battle_ids: Sequence[str]) -> Mapping[str, Winner]:
        """How a voter has chosen, by battle: who is who is no secret to them there."""
        query = select(VoteRow.battle_id, VoteRow.winner).where(
            VoteRow.tenant == tenant, VoteRow.voter == voter, VoteRow.battle_id.in_(battle_ids)
        )
        with self._database.reading() as session:
            return {battle_id: cast(Winner, winner) for battle_id, winner in session.execute(query)}

    def votes(self, tenant: str, after: str | None = None, limit: int = 100) -> Sequence[Vote]:
        """Votes, newest first, from the one after `after`.

        Raises:
            UnknownBattleError: there is no vote `after`.
        """
        with self._database.reading() as session:
            rows = newest(session, VoteRow, tenant, after, limit)
            query = select(BattleRow).where(BattleRow.id.in_([row.battle_id for row in rows]))
            battles = {battle.id: battle for battle in session.scalars(query)}
            return [vote_of(row, battles[row.battle_id]) for row in rows]

    def check_models(self, tenant: str, models: Collection[str]) -> None:
        """Finds out whether each of these has been in a battle.

        Raises:
            UnknownContestantError: names the first that has not.
        """
        with self._database.reading() as session:
            for model in models:
                mine = BattleRow.tenant == tenant, (BattleRow.a_model == model) | (BattleRow.b_model == model)
                if session.scalar(select(BattleRow.id).where(*mine).limit(1)) is None:
                    raise UnknownContestantError(model)

    def outcomes(self, tenant: str, limit: int, models: Collection[str] = ()) -> Sequence[tuple[str, str, Winner]]:
        """The models on sides a and b and the winner of the newest votes, oldest first.

        Args:
            tenant: whose.
            limit: so many votes.
            models: only battles between these; empty: all.
        """
        query = (
            select(BattleRow.a_model, BattleRow.b_model, VoteRow.winner)
            .join(VoteRow, VoteRow.battle_id == BattleRow.id)
            .where(VoteRow.tenant == tenant)
            .order_by(VoteRow.created_at.desc(), VoteRow.id.desc())
            .limit(limit)
        )
        if models:
            query = query.where(BattleRow.a_model.in_(models), BattleRow.b_model.in_(models))
        with self._database.reading() as session:
            found = [(a, b, cast(Winner, winner)) for a, b, winner in session.execute(query)]
        return found[::-1]

    def ballots(self, tenant: str, models: Collection[str] = ()) -> Iterator[Ballot]:
        """The battles that have votes, newest first; read in parts, so that what comes meanwhile may be missed.

        Args:
            tenant: whose.
            models: only battles in which one of these took part; empty: all.
        """
        before: tuple[datetime, str] | None = None
        while battles := self._battles(tenant, models, before):
            before = battles[-1].created_at, battles[-1].id
            query = (
                select(VoteRow.battle_id, VoteRow.winner, func.count())
                .where(VoteRow.battle_id.in_([battle.id for battle in battles]))
                .group_by(VoteRow.battle_id, VoteRow.winner)
            )
            counts: dict[str, Counter[Winner]] = defaultdict(Counter)
            with self._database.reading() as session:
                for battle_id, winner, count in session.execute(query):
                    counts[battle_id][cast(Winner, winner)] = count
            yield from (Ballot(battle, counts[battle.id]) for battle in battles if battle.id in counts)

    def _battles(self, tenant: str, models: Collection[str], before: tuple[datetime, str] | None) -> Sequence[Battle]:
        """Some of the battles older than a place in time: that place stays when the battle there is deleted."""
        query = select(BattleRow).where(BattleRow.tenant == tenant)
        if models:
            query = query.where(BattleRow.a_model.in_(models) | BattleRow.b_model.in_(models))
        if before is not None:
            query = query.where(tuple_(BattleRow.created_at, BattleRow.id) < before)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(BattleRow.created_at.desc(), BattleRow.id.desc()).limit(_BATCH))
            return [battle_of(row) for row in rows]

    def rate(self, tenant: str, battle_id: str, side: Side, opinion: Opinion) -> Rating:
        """Keeps an opinion of one side of a battle, in the place of an earlier one by the same voter.

        Raises:
            UnknownBattleError: there is no such battle.
            TooManyBattlesError: the tenant keeps as many ratings as it may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"arena of {tenant}")
            battle = battle_of(find_battle(session, tenant, battle_id, locked=True))
            earlier = session.scalar(
                select(RatingRow).where(
                    RatingRow.battle_id == battle_id, RatingRow.side == side, RatingRow.voter == opinion.voter
                )
            )
            if earlier is not None:
                session.delete(earlier)
                session.flush()
            refuse_more(session, RatingRow, tenant, "ratings", self._max_battles)
            row = _rating(tenant, battle.messages, battle.answer(side), opinion)
            row.created_at, row.battle_id, row.side = now_of(session), battle_id, side
            session.add(row)
        return rating_of(row)

    def rate_answer(self, tenant: str, messages: Sequence[Message], answer: Answer, opinion: Opinion) -> Rating:
        """Keeps an opinion of an answer that was given elsewhere.

        Raises:
            TooManyBattlesError: the tenant keeps as many ratings as it may.
        """
        with self._database.session() as session:
            self._database.serialise(session, f"arena of {tenant}")
            refuse_more(session, RatingRow, tenant, "ratings", self._max_battles)
            row = _rating(tenant, messages, answer, opinion)
            row.created_at, row.battle_id, row.side = now_of(session), None, None
            session.add(row)
        return rating_of(row)

    def ratings(self, tenant: str, after: str | None = None, limit: int = 100) -> Sequence[Rating]:
        """Ratings, newest first, from the one after `after`.

        Raises:
            UnknownBattleError: there is no rating `after`.
        """
        with self._database.reading() as session:
            return [rating_of(row) for row in newest(session, RatingRow, tenant, after, limit)]

    def scores(self, tenant: str) -> Sequence[tuple[str, int]]:
        """Model and score of each rating whose voter knew, or could know, whose answer it was.

        A rating in a battle counts once its voter has voted there: a count that rose sooner would tell who is who.
        """
        vote = select(VoteRow.id).where(VoteRow.battle_id == RatingRow.battle_id, VoteRow.voter == RatingRow.voter)
        query = select(RatingRow.model, RatingRow.score).where(
            RatingRow.tenant == tenant, RatingRow.battle_id.is_(None) | vote.exists()
        )
        with self._database.reading() as session:
            return [(model, score) for model, score in session.execute(query)]


def _new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def _rating(tenant: str, messages: Sequence[Message], answer: Answer, opinion: Opinion) -> RatingRow:
    return RatingRow(
        id=_new_id("rating"),
        tenant=tenant,
        voter=opinion.voter,
        score=opinion.score,
        comment=opinion.comment,
        messages=[dict(message) for message in messages],
        model=answer.model,
        answer=asdict(answer),
    )
