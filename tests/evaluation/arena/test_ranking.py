import itertools
import random

import numpy as np
import pytest
from evalica import Winner
from scipy.optimize import minimize

from evaluation.arena.ranking import (
    PRIOR_TIES,
    Outcome,
    bradley_terry,
    bradley_terry_intervals,
    elo,
)

STRENGTHS = {"base": 0.0, "a:1": 0.5, "a:2": 1.0, "b:1": -0.4}


def season(count: int, seed: int, tie_share: float = 0.15) -> list[Outcome]:
    """Battles between models of known strengths, in nats."""
    chance = random.Random(seed)
    outcomes = []
    for _ in range(count):
        first, second = chance.sample(sorted(STRENGTHS), 2)
        wins = chance.random() < 1 / (1 + np.exp(STRENGTHS[second] - STRENGTHS[first]))
        winner = Winner.Draw if chance.random() < tie_share else Winner.X if wins else Winner.Y
        outcomes.append(Outcome(first, second, winner))
    return outcomes


def fitted_by_newton(outcomes: list[Outcome], prior_ties: float) -> dict[str, float]:
    """The likeliest strengths, found by scipy's optimiser on the log likelihood as Bradley and Terry write it."""
    models = sorted({model for outcome in outcomes for model in (outcome.first, outcome.second)})
    place = {model: at for at, model in enumerate(models)}

    def cost(strengths: np.ndarray) -> float:
        def log_win(one: str, other: str) -> float:
            return -float(np.logaddexp(0.0, strengths[place[other]] - strengths[place[one]]))

        total = 0.0
        for outcome in outcomes:
            share = {Winner.X: 1.0, Winner.Y: 0.0, Winner.Draw: 0.5}[outcome.winner]
            total += share * log_win(outcome.first, outcome.second)
            total += (1 - share) * log_win(outcome.second, outcome.first)
        for one, other in itertools.combinations(models, 2):
            total += prior_ties / (len(models) - 1) * 0.5 * (log_win(one, other) + log_win(other, one))
        # The likelihood does not know where zero is.
        return -total + float(strengths.sum()) ** 2

    found = minimize(cost, np.zeros(len(models)), method="BFGS", options={"gtol": 1e-7}).x
    points = 1000 + 400 * (found - found.mean()) / np.log(10)
    return dict(zip(models, points.tolist(), strict=True))


@pytest.mark.parametrize("prior_ties", [0.0, PRIOR_TIES])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_ratings_are_those_of_an_independent_fit(seed: int, prior_ties: float) -> None:
    outcomes = season(120, seed)

    assert bradley_terry(outcomes, prior_ties) == pytest.approx(fitted_by_newton(outcomes, prior_ties), abs=0.01)


def test_two_models_are_apart_by_the_odds_of_their_battles() -> None:
    outcomes = [Outcome("a:1", "base", Winner.X)] * 30 + [Outcome("a:1", "base", Winner.Y)] * 10

    found = bradley_terry(outcomes, prior_ties=0)

    assert found["a:1"] - found["base"] == pytest.approx(400 * np.log10(3), abs=1e-4)
    assert sum(found.values()) == pytest.approx(2000)


def test_sides_do_not_matter() -> None:
    outcomes = season(80, 4)
    swapped = {Winner.X: Winner.Y, Winner.Y: Winner.X, Winner.Draw: Winner.Draw}
    mirrored = [Outcome(each.second, each.first, swapped[each.winner]) for each in outcomes]

    assert bradley_terry(mirrored) == pytest.approx(bradley_terry(outcomes), abs=1e-4)


def test_a_model_that_never_lost_is_strong_and_not_infinitely_so() -> None:
    found = bradley_terry([Outcome("a:1", "base", Winner.X)] * 3)

    # Three wins and half a tie, which is a quarter of a win for each.
    assert found["a:1"] - found["base"] == pytest.approx(400 * np.log10(3.25 / 0.25), abs=1e-4)


def test_intervals_hold_the_true_strengths() -> None:
    mean = sum(STRENGTHS.values()) / len(STRENGTHS)
    held = total = 0
    for seed in range(15):
        found = bradley_terry_intervals(season(400, 100 + seed, tie_share=0.0))
        for model, strength in STRENGTHS.items():
            held += 1000 + 400 * (strength - mean) / np.log(10) in found[model].interval
            total += 1

    # 57 of 60 are expected; 50 or fewer would be seen once in 700 times.
    assert held > 50


def test_more_votes_narrow_the_interval() -> None:
    few, many = bradley_terry_intervals(season(60, 5)), bradley_terry_intervals(season(600, 5))

    def width(model: str, found: dict[str, object]) -> float:
        interval = found[model].interval  # type: ignore[attr-defined]
        return float(interval.high - interval.low)

    assert all(width(model, dict(many)) < 0.6 * width(model, dict(few)) for model in STRENGTHS)


def test_elo_follows_the_battles_one_by_one() -> None:
    outcomes = season(50, 6)

    expected = dict.fromkeys(STRENGTHS, 1000.0)
    for outcome in outcomes:
        share = {Winner.X: 1.0, Winner.Y: 0.0, Winner.Draw: 0.5}[outcome.winner]
        odds = 10 ** ((expected[outcome.first] - expected[outcome.second]) / 400)
        gain = 4.0 * (share - odds / (1 + odds))
        expected[outcome.first] += gain
        expected[outcome.second] -= gain

    found = elo(outcomes)
    assert {model: strength.rating for model, strength in found.items()} == pytest.approx(expected)
    assert all(strength.interval.low < strength.interval.high for strength in found.values())


def test_the_same_votes_give_the_same_board() -> None:
    outcomes = season(40, 7)

    assert bradley_terry_intervals(outcomes) == bradley_terry_intervals(outcomes)
    assert elo(outcomes) == elo(outcomes)


def test_without_battles_there_is_nothing() -> None:
    assert bradley_terry_intervals([]) == {}
    assert elo([]) == {}


def test_one_battle_is_enough_for_a_rating() -> None:
    found = elo([Outcome("a:1", "base", Winner.X)])

    assert {model: strength.rating for model, strength in found.items()} == {"a:1": 1002.0, "base": 998.0}
    assert set(bradley_terry_intervals([Outcome("a:1", "base", Winner.X)])) == {"a:1", "base"}
