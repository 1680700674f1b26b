"""One stored evaluation from its claim to its end: what is missing is measured, stored as it comes, and made a result.

The server and the commands carry runs out by the same function.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.errors import CaseError
from evaluation.evaluate import evaluate
from evaluation.judging.judge import Judge
from evaluation.plan import Plan
from evaluation.results import CaseResult, ModelResult
from evaluation.runs.claims import NewCase, RunClaim, RunClaims
from evaluation.runs.run import Run, RunModel
from evaluation.runs.runs import Runs
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite
from evaluation.summary import summarise
from service.evaluation.encoding import by_rendering, cases_of, sampler_of
from service.evaluation.request import Judging, judge_of, scorers_of
from service.inference.inference import Inference
from service.inference.target import Target
from service.settings import Settings
from storage.database import Database

OnProgress = Callable[[int, int], None]
"""Called with (answers so far, answers in all)."""

_STORE_SECONDS = 1.0
"""Answers are stored so often: each transaction waits for the disk, and a crash loses no more than these."""
_STORE_AT_ONCE = 64
_ANSWERS_AT_ONCE = 512
"""Measured together: enough to keep a batch full, and little enough that scoring them all before the first is complete
loses little in a crash."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Where runs and suites are, and who carries runs out here."""

    runs: Runs
    claims: RunClaims
    suites: Suites
    settings: Settings


def open_desk(settings: Settings, database: Database) -> Desk:
    """The runs and suites of `settings`, in a migrated database."""
    runs = Runs(database)
    server = f"{socket.gethostname()}:{os.getpid()}"
    claims = RunClaims(database, server=server, lease_seconds=settings.lease_seconds, max_open=runs.max_open)
    return Desk(runs=runs, claims=claims, suites=Suites(database), settings=settings)


def carry_out(desk: Desk, inference: Inference, claim: RunClaim, on_progress: OnProgress | None = None) -> Run:
    """Measures what is not stored yet, stores it as it comes, and ends the run with all of it.

    Raises:
        StaleRunError: the run was cancelled, or somebody else goes on with it.
        AdapterError: a model is no longer there, or no longer the same.
        EvaluationError: a case cannot be asked.
        EngineError: a case exceeds the context, or the engine ends.
    """
    run = claim.run
    suite = desk.suites.content(run.tenant, run.suite.digest)
    scorers = scorers_of(run.scorers, suite)
    targets = tuple(_target(inference, run, model) for model in run.models)
    stored = {position: dict(found) for position, found in desk.claims.recorded(claim).items()}
    recorder = Recorder(desk.claims, claim)
    judging = Judging(settings=desk.settings, inference=inference, tenant=run.tenant, model=run.judge)
    with judge_of(judging, suite, scorers) as judge:
        work = _Work(run=run, suite=suite, scorers=scorers, targets=targets, inference=inference, judge=judge)
        fresh = not any(stored.values())
        try:
            seconds = work.measure(stored, recorder, on_progress)
        finally:
            # What came before an error need not be measured again.
            recorder.flush()
        return desk.claims.finish(claim, work.results(stored, seconds if fresh else None))


@dataclass(frozen=True, kw_only=True)
class _Work:
    run: Run
    suite: Suite
    scorers: tuple[ScorerSpec, ...]
    targets: tuple[Target, ...]
    inference: Inference
    judge: Judge | None

    def measure(
        self, stored: dict[int, dict[int, CaseResult]], recorder: "Recorder", on_progress: OnProgress | None
    ) -> float:
        """What is missing, some of it at a time; the seconds for which answers were generated."""
        seconds = 0.0
        positions = {target.model: position for position, target in enumerate(self.targets)}
        sampler = sampler_of(self.inference, self.targets)

        def complete(model: str | None, result: CaseResult) -> None:
            position = positions[str(model)]
            stored[position][result.index] = result
            recorder.add(position, result)
            if on_progress is not None:
                on_progress(sum(map(len, stored.values())), self.run.total)

        def listen(_done: int, _total: int) -> None:
            if on_progress is not None:
                on_progress(sum(map(len, stored.values())), self.run.total)

        for members in by_rendering(self.targets):
            for group, indexes in _missing(
                [positions[member.model] for member in members], stored, len(self.suite.cases)
            ):
                targets = [self.targets[position] for position in group]
                cases = cases_of(self.inference, targets[0], self.suite, indexes)
                models = [target.model for target in targets]
                found = evaluate(
                    sampler, models, cases, self.scorers, self.run.generation, listen, complete, self.judge
                )
                seconds += max((_generated_seconds(result) for result in found), default=0)
        return seconds

    def results(self, stored: Mapping[int, Mapping[int, CaseResult]], seconds: float | None) -> list[ModelResult]:
        """Of all that is stored; `seconds` is None where not all of it was generated just now."""
        positions = {target.model: position for position, target in enumerate(self.targets)}
        found = {}
        for members in by_rendering(self.targets):
            cases = cases_of(self.inference, members[0], self.suite, range(len(self.suite.cases)))
            plan = Plan(cases, self.scorers, self.judge)
            for member in members:
                answers = stored[positions[member.model]]
                results = [answers[case.index] for case in cases]
                found[member.model] = summarise(member.model, cases, results, plan, seconds)
        return [found[target.model] for target in self.targets]


def _generated_seconds(result: ModelResult) -> float:
    """The wall time of the batch, which is the same for all its models."""
    return result.completion_tokens / result.tokens_per_second if result.tokens_per_second else 0.0


def _missing(
    positions: Sequence[int], stored: Mapping[int, Mapping[int, CaseResult]], num_cases: int
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Models that lack the same cases, with some of these cases."""
    lacking: dict[tuple[int, ...], list[int]] = {}
    for index in range(num_cases):
        group = tuple(position for position in positions if index not in stored[position])
        if group:
            lacking.setdefault(group, []).append(index)
    for group, indexes in lacking.items():
        step = max(1, _ANSWERS_AT_ONCE // len(group))
        for start in range(0, len(indexes), step):
            yield group, indexes[start : start + step]


def _target(inference: Inference, run: Run, model: RunModel) -> Target:
    if model.digest == run.base_digest:
        return inference.resolve(run.tenant, None)
    target = inference.resolve(run.tenant, model.model)
    if target.version is None or target.version.digest != model.digest:
        raise CaseError(f"{model.model} is not the version any more that {run.id} began with")
    return target


class Recorder:
    """Stores answers as they come, some at a time.

    Args:
        claims: takes them down.
        claim: on the run.
    """

    def __init__(self, claims: RunClaims, claim: RunClaim) -> None:
        self._claims = claims
        self._claim = claim
        self._waiting: list[NewCase] = []
        self._stored_at = time.monotonic()

    def add(self, position: int, result: CaseResult) -> None:
        """One more answer.

        Raises:
            StaleRunError: the claim is over.
        """
        self._waiting.append(NewCase(position=position, result=result))
        if len(self._waiting) >= _STORE_AT_ONCE or time.monotonic() - self._stored_at >= _STORE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Stores what waits.

        Raises:
            StaleRunError: the claim is over.
        """
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._claims.record(self._claim, waiting)
        self._stored_at = time.monotonic()
