from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest

from evaluation.arena import arena as arena_module
from evaluation.arena.arena import Arena
from evaluation.arena.battle import Opinion, Side
from evaluation.arena.errors import (
    AlreadyVotedError,
    TooManyBattlesError,
    UnknownBattleError,
    UnknownContestantError,
)
from storage.database import Database
from tests.evaluation.arena.conftest import QUESTION, answer, fight


def test_a_battle_is_found_again_as_it_was(arena: Arena) -> None:
    made = fight(arena)

    assert arena.get("t", made.id) == made
    assert made.messages == QUESTION
    assert {made.a.model, made.b.model} == {"a:1", "base"}
    assert made.answer("a") == made.a


def test_chance_gives_the_sides(arena: Arena) -> None:
    left = [fight(arena).a.model for _ in range(40)]

    # Fewer than 8 of 40 on either side would be seen once in 9,000 times.
    assert 8 <= left.count("base") <= 32


def test_an_answer_may_hold_what_databases_dislike(arena: Arena) -> None:
    odd = "nul \x00, half a pair \ud83d, 漢字 🙂"
    made = arena.create("t", QUESTION, (answer("a:1", odd), answer("base", odd)), {})

    assert arena.get("t", made.id).a.text == odd


def test_a_vote_is_kept_with_its_battle(arena: Arena) -> None:
    made = fight(arena)

    vote = arena.vote("t", made.id, "ann", "b", "clearer")

    assert arena.votes("t") == [vote]
    assert (vote.battle, vote.winner, vote.voter, vote.comment) == (made, "b", "ann", "clearer")
    assert arena.voted("t", "ann", [made.id]) == {made.id: "b"}
    assert arena.voted("t", "ben", [made.id]) == {}


def test_a_battle_takes_one_vote_of_each_voter(arena: Arena) -> None:
    made = fight(arena)
    arena.vote("t", made.id, "ann", "a")
    arena.vote("t", made.id, "ben", "b")

    with pytest.raises(AlreadyVotedError, match="'ann' has voted"):
        arena.vote("t", made.id, "ann", "b")

    assert [vote.winner for vote in arena.votes("t")] == ["b", "a"]


def test_of_votes_at_once_one_counts(arena: Arena) -> None:
    made = fight(arena)

    def try_to_vote(_: int) -> bool:
        try:
            arena.vote("t", made.id, "ann", "a")
        except AlreadyVotedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_vote, range(8))) == 1
    assert len(arena.votes("t")) == 1


def test_lists_are_read_page_by_page_newest_first(arena: Arena) -> None:
    made = [fight(arena).id for _ in range(5)]

    assert [battle.id for battle in arena.list("t", limit=2)] == made[:2:-1]
    assert [battle.id for battle in arena.list("t", after=made[3], limit=10)] == made[2::-1]


def test_a_tenant_sees_its_own_battles_only(arena: Arena) -> None:
    theirs = fight(arena, tenant="other")
    arena.vote("other", theirs.id, "ann", "a")
    arena.rate("other", theirs.id, "a", Opinion(voter="ann", score=5))

    for found in (arena.list("t"), arena.votes("t"), arena.ratings("t"), arena.scores("t"), arena.outcomes("t", 10)):
        assert list(found) == []
    assert list(arena.ballots("t")) == []
    assert arena.voted("t", "ann", [theirs.id]) == {}
    for refused in (arena.get, arena.delete):
        with pytest.raises(UnknownBattleError, match=theirs.id):
            refused("t", theirs.id)
    with pytest.raises(UnknownBattleError):
        arena.vote("t", theirs.id, "ann", "a")
    with pytest.raises(UnknownBattleError):
        arena.rate("t", theirs.id, "a", Opinion(voter="ann", score=5))


def test_a_deleted_battle_takes_its_votes_and_ratings_along(arena: Arena) -> None:
    made, other = fight(arena), fight(arena)
    for battle in (made, other):
        arena.vote("t", battle.id, "ann", "a")
        arena.rate("t", battle.id, "a", Opinion(voter="ann", score=5))

    arena.delete("t", made.id)

    assert [battle.id for battle in arena.list("t")] == [other.id]
    assert [vote.battle.id for vote in arena.votes("t")] == [other.id]
    assert [rating.battle for rating in arena.ratings("t")] == [other.id]


def test_a_later_rating_of_the_same_voter_takes_the_place_of_the_earlier(arena: Arena) -> None:
    made = fight(arena)
    arena.rate("t", made.id, "a", Opinion(voter="ann", score=1))
    arena.rate("t", made.id, "b", Opinion(voter="ann", score=2))
    arena.rate("t", made.id, "a", Opinion(voter="ben", score=3))

    arena.rate("t", made.id, "a", Opinion(voter="ann", score=4, comment="on second thought"))

    found = {(rating.opinion.voter, rating.side): rating.opinion.score for rating in arena.ratings("t")}
    assert found == {("ann", "a"): 4, ("ann", "b"): 2, ("ben", "a"): 3}


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_rating_carries_the_answer(arena: Arena, side: Side) -> None:
    made = fight(arena)

    rating = arena.rate("t", made.id, side, Opinion(voter="ann", score=2))

    assert (rating.answer, rating.messages) == (made.answer(side), QUESTION)


def test_a_score_in_a_battle_counts_once_its_voter_has_voted(arena: Arena) -> None:
    made = fight(arena)
    arena.rate("t", made.id, "a", Opinion(voter="ann", score=5))
    arena.vote("t", made.id, "ben", "a")
    assert arena.scores("t") == []

    arena.vote("t", made.id, "ann", "b")

    assert arena.scores("t") == [(made.a.model, 5)]


def test_answers_given_elsewhere_are_rated_as_often_as_one_likes(arena: Arena) -> None:
    for score in (3, 4):
        arena.rate_answer("t", QUESTION, answer("a:1"), Opinion(voter="ann", score=score))

    assert sorted(arena.scores("t")) == [("a:1", 3), ("a:1", 4)]
    assert [rating.battle for rating in arena.ratings("t")] == [None, None]


def test_what_a_tenant_keeps_is_bounded(database: Database) -> None:
    arena = Arena(database, Random(1), max_battles=2)
    made = [fight(arena), fight(arena)]

    with pytest.raises(TooManyBattlesError, match=r"2 battles are kept, .* delete some"):
        fight(arena)
    fight(arena, tenant="other")
    for _ in range(2):
        arena.rate_answer("t", QUESTION, answer("a:1"), Opinion(voter="ann", score=3))
    with pytest.raises(TooManyBattlesError, match="2 ratings"):
        arena.rate("t", made[0].id, "a", Opinion(voter="ann", score=3))


def test_outcomes_are_the_newest_oldest_first(arena: Arena) -> None:
    made = [fight(arena) for _ in range(4)]
    for battle, winner in zip(made, ("a", "b", "tie", "a"), strict=True):
        arena.vote("t", battle.id, "ann", winner)  # type: ignore[arg-type]

    found = arena.outcomes("t", 3)

    assert [winner for _, _, winner in found] == ["b", "tie", "a"]
    assert found[0][:2] == (made[1].a.model, made[1].b.model)


def test_ballots_count_the_votes_of_each_battle(arena: Arena) -> None:
    made, unjudged, other = fight(arena), fight(arena), fight(arena)
    for voter, winner in (("ann", "a"), ("ben", "a"), ("cid", "tie")):
        arena.vote("t", made.id, voter, winner)  # type: ignore[arg-type]
    arena.vote("t", other.id, "ann", "b")

    found = {ballot.battle.id: dict(ballot.counts) for ballot in arena.ballots("t")}

    assert found == {made.id: {"a": 2, "tie": 1}, other.id: {"b": 1}}
    assert unjudged.id not in found


def test_a_page_after_something_unknown_is_refused(arena: Arena) -> None:
    fight(arena)
    for listed in (arena.list, arena.votes, arena.ratings):
        with pytest.raises(UnknownBattleError, match="typo"):
            listed("t", "typo")
    mine = fight(arena, tenant="other")
    with pytest.raises(UnknownBattleError):
        arena.list("t", mine.id)


def test_ballots_go_on_where_they_were_when_a_battle_is_deleted_meanwhile(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arena_module, "_BATCH", 2)
    made = [fight(arena) for _ in range(5)]
    for battle in made:
        arena.vote("t", battle.id, "ann", "a")
    ballots = arena.ballots("t")
    found = [next(ballots).battle.id, next(ballots).battle.id]
    arena.delete("t", found[-1])
    found += [ballot.battle.id for ballot in ballots]
    assert sorted(found) == sorted(battle.id for battle in made)


def test_battles_of_some_models_can_be_asked_for(arena: Arena) -> None:
    for one in ("a:1", "b:1"):
        arena.vote("t", fight(arena, one).id, "ann", "tie")
    assert [{each.battle.a.model, each.battle.b.model} for each in arena.ballots("t", ["b:1"])] == [{"b:1", "base"}]
    assert len(list(arena.ballots("t", ["base"]))) == 2
    # Not the newest vote, which is of the others.
    assert {*arena.outcomes("t", 1, ["a:1", "base"])[0]} == {"a:1", "base", "tie"}
    with pytest.raises(UnknownContestantError, match="'a'"):
        arena.check_models("t", ["a:1", "a"])


def test_a_battle_takes_so_many_votes(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arena_module, "MAX_VOTES_OF_BATTLE", 2)
    battle = fight(arena)
    for voter in ("ann", "bob"):
        arena.vote("t", battle.id, voter, "a")
    with pytest.raises(TooManyBattlesError, match=f"2 votes on {battle.id}"):
        arena.vote("t", battle.id, "eve", "a")
