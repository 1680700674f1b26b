"""Strengths out of who won against whom: Bradley-Terry and Elo, computed by evalica, with bootstrap intervals.

Arrays: S resamples, K kinds of outcomes, N outcomes.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import evalica
import numpy as np

from evaluation.statistics.bootstrap import Interval, percentiles

MEAN_RATING = 1000.0
POINTS_OF_TENFOLD_ODDS = 400.0
"""Elo's scale, on which both are given: 400 points are odds of ten to one."""
PRIOR_TIES = 0.5
"""Ties that each model is taken to have had with each other one, all in all: without them a model that never lost would
be infinitely strong (Caron & Doucet 2012). A handful of votes outweighs them."""
K_FACTOR = 4.0
SAMPLES = 1000
ELO_SAMPLES = 200
"""Fewer, because every one goes through all battles in turn."""
_TOLERANCE = 1e-9
_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """Two models that met, and whether the first one won (1), the second (2) or neither (0)."""

    first: str
    second: str
    winner: evalica.Winner


@dataclass(frozen=True, slots=True)
class Strength:
    """One model's, on Elo's scale, around 1000."""

    rating: float
    interval: Interval
    """95%, bootstrap over the outcomes."""


def bradley_terry(outcomes: Sequence[Outcome], prior_ties: float = PRIOR_TIES) -> dict[str, float]:
    """Return the ratings under which what happened is likeliest (Bradley & Terry 1952); a tie is half a win for each.

    Their mean is 1000. Without prior ties they are finite only where every model can be reached from every other one
    through wins and ties.
    """
    models = _models(outcomes)
    return dict(zip(models, _fitted(models, list(Counter(outcomes).items()), prior_ties), strict=True))


def bradley_terry_intervals(outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, Strength]:
    """Return ratings and their intervals. The same seed gives the same."""
    if not outcomes:
        return {}
    models, counted = _models(outcomes), Counter(outcomes)
    kinds = list(counted)
    # Resampling outcomes is drawing how often each kind of them occurs.
    shares = np.array([counted[kind] for kind in kinds]) / len(outcomes)
    drawn_SK = np.random.default_rng(seed).multinomial(len(outcomes), shares, size=SAMPLES)
    replicates = [_fitted(models, list(zip(kinds, counts, strict=True)), PRIOR_TIES) for counts in drawn_SK.tolist()]
    return _strengths(models, _fitted(models, list(counted.items()), PRIOR_TIES), replicates)


def elo(outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, Strength]:
    """Return Elo ratings in the order of the outcomes, and their intervals over outcomes in any order."""
    if not outcomes:
        return {}
    models = _models(outcomes)
    drawn_SN = np.random.default_rng(seed).integers(len(outcomes), size=(ELO_SAMPLES, len(outcomes)))
    replicates = [_followed(models, [outcomes[place] for place in drawn]) for drawn in drawn_SN.tolist()]
    return _strengths(models, _followed(models, outcomes), replicates)


def _models(outcomes: Sequence[Outcome]) -> list[str]:
    return sorted({model for outcome in outcomes for model in (outcome.first, outcome.second)})


def _strengths(
    models: Sequence[str], point: Sequence[float], replicates: Sequence[Sequence[float]]
) -> dict[str, Strength]:
    columns = np.array(replicates).T
    return {
        model: Strength(rating, percentiles(column))
        for model, rating, column in zip(models, point, columns, strict=True)
    }


def _followed(models: Sequence[str], outcomes: Sequence[Outcome]) -> list[float]:
    """Elo ratings in the order of the models; one that met nobody keeps the mean."""
    found = evalica.elo(
        [outcome.first for outcome in outcomes],
        [outcome.second for outcome in outcomes],
        [outcome.winner for outcome in outcomes],
        initial=MEAN_RATING,
        scale=POINTS_OF_TENFOLD_ODDS,
        k=K_FACTOR,
    ).scores.to_dict()
    return [float(found.get(model, MEAN_RATING)) for model in models]


def _fitted(models: Sequence[str], counted: Sequence[tuple[Outcome, float]], prior_ties: float) -> list[float]:
    """Bradley-Terry ratings in the order of the models."""
    pairs = [(one, other) for place, one in enumerate(models) for other in models[place + 1 :]] if prior_ties else []
    each = prior_ties / max(1, len(models) - 1)
    found = evalica.bradley_terry(
        [outcome.first for outcome, _ in counted] + [one for one, _ in pairs],
        [outcome.second for outcome, _ in counted] + [other for _, other in pairs],
        [outcome.winner for outcome, _ in counted] + [evalica.Winner.Draw] * len(pairs),
        weights=[float(count) for _, count in counted] + [each] * len(pairs),
        tolerance=_TOLERANCE,
        limit=_LIMIT,
    ).scores.to_dict()
    logs = [math.log10(found[model]) for model in models]
    middle = sum(logs) / len(logs)
    return [MEAN_RATING + POINTS_OF_TENFOLD_ODDS * (value - middle) for value in logs]
