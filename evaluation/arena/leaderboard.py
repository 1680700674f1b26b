"""Models in the order in which people prefer them, and how sure that order is."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import evalica

from evaluation.arena.arena import Arena
from evaluation.arena.battle import Winner
from evaluation.arena.ranking import Outcome, Strength, bradley_terry_intervals, elo

MAX_VOTES = 10_000
"""The newest so many count."""
_WINNERS: Mapping[Winner, evalica.Winner] = {
    "a": evalica.Winner.X,
    "b": evalica.Winner.Y,
    "tie": evalica.Winner.Draw,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One model's place."""

    model: str
    rank: int
    """1, and one more for each model whose whole Bradley-Terry interval lies above this one's; equals share a rank."""
    bradley_terry: Strength
    elo: Strength
    wins: int
    losses: int
    ties: int
    is_bounded: bool
    """Whether it has been preferred and been beaten, or tied: otherwise no vote bounds its strength on one side, and
    the interval says less than it seems to."""
    num_ratings: int
    mean_score: float | None
    """Of its ratings, 1 to 5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaderboard:
    """The strongest first."""

    standings: tuple[Standing, ...]
    num_votes: int
    is_comparable: bool
    """Whether wins and ties lead from every model to every other; otherwise ratings of some rest on no vote."""


def leaderboard(arena: Arena, tenant: str, models: Collection[str] = ()) -> Leaderboard:
    """Rank a tenant's models by the newest 10,000 votes.

    Args:
        arena: where votes are.
        tenant: whose.
        models: count only battles between these; empty: all.

    Raises:
        UnknownContestantError: one of the models has been in no battle.
    """
    arena.check_models(tenant, models)
    outcomes = [Outcome(a, b, _WINNERS[winner]) for a, b, winner in arena.outcomes(tenant, MAX_VOTES, models)]
    return ranked(outcomes, arena.scores(tenant))


def ranked(outcomes: Sequence[Outcome], scores: Iterable[tuple[str, int]] = ()) -> Leaderboard:
    """Rank the models of outcomes, oldest first; scores are of single answers."""
    strengths, elos = bradley_terry_intervals(outcomes), elo(outcomes)
    records, opinions = _records(outcomes), defaultdict(list)
    for model, score in scores:
        opinions[model].append(score)
    standings = [
        Standing(
            model=model,
            rank=1 + sum(other.interval.low > strength.interval.high for other in strengths.values()),
            bradley_terry=strength,
            elo=elos[model],
            wins=records[model]["win"],
            losses=records[model]["loss"],
            ties=records[model]["tie"],
            is_bounded=bool(records[model]["tie"] or (records[model]["win"] and records[model]["loss"])),
            num_ratings=len(opinions[model]),
            mean_score=sum(opinions[model]) / len(opinions[model]) if opinions[model] else None,
        )
        for model, strength in strengths.items()
    ]
    return Leaderboard(
        standings=tuple(sorted(standings, key=lambda each: (-each.bradley_terry.rating, each.model))),
        num_votes=len(outcomes),
        is_comparable=_is_comparable(outcomes),
    )


def _records(outcomes: Sequence[Outcome]) -> Mapping[str, Counter[str]]:
    records: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        tied, won = outcome.winner == evalica.Winner.Draw, outcome.winner == evalica.Winner.X
        records[outcome.first]["tie" if tied else "win" if won else "loss"] += 1
        records[outcome.second]["tie" if tied else "loss" if won else "win"] += 1
    return records


def _is_comparable(outcomes: Sequence[Outcome]) -> bool:
    """Whether the graph of who was not beaten by whom is strongly connected (Ford 1957)."""
    above: dict[str, set[str]] = defaultdict(set)
    below: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        for winner, loser in ((outcome.first, outcome.second), (outcome.second, outcome.first)):
            beaten = evalica.Winner.Y if winner == outcome.first else evalica.Winner.X
            if outcome.winner != beaten:
                below[winner].add(loser)
                above[loser].add(winner)
    models = {*above, *below}
    return bool(models) and all(_reached(edges, min(models)) == models for edges in (above, below))


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached
