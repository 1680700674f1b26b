import pytest
from evalica import Winner

from evaluation.arena.arena import Arena
from evaluation.arena.battle import Opinion
from evaluation.arena.leaderboard import leaderboard, ranked
from evaluation.arena.ranking import Outcome
from tests.evaluation.arena.conftest import fight


def won(one: str, other: str, times: int) -> list[Outcome]:
    return [Outcome(one, other, Winner.X)] * times


def test_the_strongest_stands_first_and_equals_share_a_rank() -> None:
    board = ranked(won("a:1", "base", 60) + won("base", "a:1", 5) + won("a:1", "a:2", 7) + won("a:2", "a:1", 6))

    first, second, third = board.standings
    assert (third.model, third.rank) == ("base", 3)
    assert {first.model, second.model} == {"a:1", "a:2"}
    assert first.rank == second.rank == 1
    assert first.bradley_terry.rating > second.bradley_terry.rating > third.bradley_terry.rating


def test_each_model_has_its_record() -> None:
    tie = [Outcome("base", "a:1", Winner.Draw)]
    board = ranked(won("a:1", "base", 3) + won("base", "a:1", 1) + tie, [("a:1", 5), ("a:1", 2), ("b:1", 1)])

    first, second = board.standings
    assert (first.model, first.wins, first.losses, first.ties) == ("a:1", 3, 1, 1)
    assert (second.model, second.wins, second.losses, second.ties) == ("base", 1, 3, 1)
    assert (first.num_ratings, first.mean_score) == (2, 3.5)
    assert (second.num_ratings, second.mean_score) == (0, None)
    assert board.num_votes == 5


def test_a_model_that_never_lost_is_not_bounded() -> None:
    board = ranked(won("a:1", "base", 4) + won("base", "b:1", 2))

    assert {each.model: each.is_bounded for each in board.standings} == {"a:1": False, "base": True, "b:1": False}


@pytest.mark.parametrize(
    ("outcomes", "comparable"),
    [
        (won("a:1", "base", 3), False),
        (won("a:1", "base", 3) + won("base", "a:1", 1), True),
        (won("a:1", "base", 1) + won("base", "b:1", 1) + won("b:1", "a:1", 1), True),
        ([Outcome("a:1", "base", Winner.Draw), Outcome("b:1", "c:1", Winner.Draw)], False),
        ([Outcome("a:1", "base", Winner.Draw), Outcome("b:1", "base", Winner.Draw)], True),
        ([Outcome("a:1", "base", Winner.Draw), Outcome("b:1", "base", Winner.Y)], False),
        ([], False),
    ],
)
def test_models_compare_where_wins_and_ties_lead_both_ways(outcomes: list[Outcome], comparable: bool) -> None:
    assert ranked(outcomes).is_comparable is comparable


def test_the_board_is_made_of_the_votes(arena: Arena) -> None:
    for _ in range(12):
        battle = fight(arena, "a:1", "base")
        arena.vote("t", battle.id, "ann", "a" if battle.a.model == "a:1" else "b")
    other = fight(arena, "a:1", "b:1")
    arena.vote("t", other.id, "ann", "tie")
    arena.rate("t", other.id, "a", Opinion(voter="ann", score=4))

    board = leaderboard(arena, "t")

    assert board.num_votes == 13
    assert [each.model for each in board.standings] == ["a:1", "b:1", "base"]
    assert board.standings[0].wins == 12
    assert {each.model: each.mean_score for each in board.standings}[other.a.model] == 4.0


def test_only_battles_between_the_models_that_are_named_count(arena: Arena) -> None:
    for one, other in (("a:1", "base"), ("a:1", "b:1")):
        arena.vote("t", fight(arena, one, other).id, "ann", "tie")

    board = leaderboard(arena, "t", ["a:1", "base"])

    assert {each.model for each in board.standings} == {"a:1", "base"}
    assert board.num_votes == 1


def test_without_votes_the_board_is_empty(arena: Arena) -> None:
    fight(arena)

    assert leaderboard(arena, "t").standings == ()
