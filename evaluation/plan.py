"""Which scorers measure which case, and what has to be asked of the models for that."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import CaseError, NothingToDoError, RepeatedMetricError
from evaluation.judging.judge import Judge
from evaluation.scorers.catalogue import create
from evaluation.scorers.scorer import Need, Scorer
from evaluation.scorers.spec import ScorerSpec


@dataclass(frozen=True)
class Measured:
    """A kind of scorer, and the cases that it measures by their places; of several parameters, those named first."""

    scorer: Scorer
    places: tuple[int, ...]


class Plan:
    """The scorers of some cases.

    Args:
        cases: at least one.
        scorers: of every case that has none of its own.
        judge: for the scorer `judge`.

    Raises:
        NothingToDoError: there are no cases, or a case has no scorer.
        UnknownScorerError: a specification cannot be met.
        RepeatedMetricError: two scorers of one case give the same metric.
        CaseError: a case that is to be answered has no prompt.
    """

    def __init__(self, cases: Sequence[Case], scorers: Sequence[ScorerSpec], judge: Judge | None = None) -> None:
        if not cases:
            raise NothingToDoError("There are no cases to evaluate on.")
        made: dict[str, Scorer] = {}
        first: dict[str, Scorer] = {}
        places: dict[str, list[int]] = {}
        self._cases = cases
        self._of_case: list[tuple[Scorer, ...]] = []
        for place, case in enumerate(cases):
            specs = scorers if case.scorers is None else case.scorers
            if not specs:
                raise NothingToDoError(f"case {case.index} has no scorer; name some for it, or for all cases.")
            keys = list(dict.fromkeys(_key(spec) for spec in specs))
            for key, spec in zip(keys, _distinct(specs), strict=True):
                if key not in made:
                    made[key] = create(spec, judge)
                first.setdefault(spec.name, made[key])
                places.setdefault(spec.name, []).append(place)
            self._of_case.append(tuple(made[key] for key in keys))
            _check(case, self._of_case[-1])
        self.measured = tuple(Measured(scorer, tuple(places[name])) for name, scorer in first.items())
        """In the order in which they are named first."""

    def check(self) -> None:
        """Looks at every case as its scorers do; once for a run, because some of them have a worker run something.

        Raises:
            CaseError: a case lacks what one of its scorers needs.
        """
        for case, scorers in zip(self._cases, self._of_case, strict=True):
            for scorer in scorers:
                scorer.check(case)

    def scorers(self, place: int) -> tuple[Scorer, ...]:
        """Of one case."""
        return self._of_case[place]

    def places(self, need: Need) -> list[int]:
        """The cases of which something has to be asked."""
        return [place for place, scorers in enumerate(self._of_case) if any(scorer.needs == need for scorer in scorers)]


def _check(case: Case, scorers: Sequence[Scorer]) -> None:
    metrics = [metric for scorer in scorers for metric in scorer.metrics]
    for metric in metrics:
        if metrics.count(metric) > 1:
            raise RepeatedMetricError(f"case {case.index}: two scorers give {metric!r}; keep one of them.")
    for scorer in scorers:
        if scorer.needs == "text" and not case.prompt_ids:
            raise CaseError(f"case {case.index} has no prompt to answer, which {scorer.metrics[0]} needs.")


def _key(spec: ScorerSpec) -> str:
    return json.dumps([spec.name, dict(spec.params)], sort_keys=True, ensure_ascii=False)


def _distinct(specs: Sequence[ScorerSpec]) -> list[ScorerSpec]:
    return list({_key(spec): spec for spec in specs}.values())
