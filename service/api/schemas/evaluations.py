"""`/evaluations`: stored runs, their events and cases, and two of them held against each other."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import JsonValue

from evaluation.results import CaseResult
from evaluation.runs.run import Run, RunEvent, RunModel, RunStatus
from evaluation.statistics.paired import Difference, Test, Verdict
from evaluation.suites.suite import Suite, SuiteCase
from service.api.schemas.evaluate import CaseReply, ModelReply, finite
from service.api.schemas.schema import Reply
from service.api.schemas.times import unix
from service.evaluation.comparison import Comparison
from service.page import Page


class RunSuite(Reply):
    """What cases were run."""

    name: str | None
    """null: they came with the request, or from a data file."""
    digest: str
    """Runs of one digest had the same cases and can be compared."""
    num_cases: int


class RunModelReply(Reply):
    """One model of a run."""

    asked: str | None
    """As the request named it; null is the base."""
    model: str
    """What that meant when the run was made: the pinned `name:N`, or the base's id."""
    digest: str


class RunProgress(Reply):
    """How far a run is."""

    done: int
    """Answers that are stored, over all models."""
    total: int


class RunReply(Reply):
    """One evaluation."""

    id: str
    object: Literal["evaluation"] = "evaluation"
    status: RunStatus
    """`partial`: it is through, and some answers have no score; it can be resumed."""
    suite: RunSuite
    models: list[RunModelReply]
    scorers: list[dict[str, JsonValue]]
    """Of the request; empty: the suite's own."""
    judge: str | None
    """The model that judges, where a scorer asks for one; null: the operator's."""
    generation: dict[str, JsonValue]
    created_at: int
    """Unix time, as all times here."""
    started_at: int | None
    finished_at: int | None
    progress: RunProgress
    error: str | None
    """Why it has failed, or how many answers have no score and why the first has none."""
    results: list[ModelReply] | None
    """In the order of `models`, once it is through. The cases are left out, save in the answer to `POST /evaluate`."""

    @classmethod
    def of(cls, run: Run) -> "RunReply":
        """Of a run, with its results as they are."""
        generation = run.generation
        return cls(
            id=run.id,
            status=run.status,
            suite=RunSuite(name=run.suite.name, digest=run.suite.digest, num_cases=run.suite.num_cases),
            models=[model_reply(model) for model in run.models],
            scorers=[{"name": scorer.name, "params": dict(scorer.params)} for scorer in run.scorers],
            judge=run.judge,
            generation={
                "max_tokens": generation.max_tokens,
                "temperature": generation.temperature,
                "seed": generation.seed,
                "stop": list(generation.stop),
            },
            created_at=unix(run.created_at),
            started_at=run.started_at and unix(run.started_at),
            finished_at=run.finished_at and unix(run.finished_at),
            progress=RunProgress(done=run.done, total=run.total),
            error=run.error,
            results=None if run.results is None else [ModelReply.of(result) for result in run.results],
        )


class RunList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[RunReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[Run]) -> "RunList":
        """Of a page."""
        return cls(data=[RunReply.of(run) for run in page.data], has_more=page.has_more)


class RunDeleted(Reply):
    """The run is gone."""

    id: str
    object: Literal["evaluation"] = "evaluation"
    deleted: bool = True


class RunEventReply(Reply):
    """Something that happened to a run."""

    id: str
    object: Literal["evaluation.event"] = "evaluation.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    data: dict[str, Any] | None
    """Of progress: `done` and `total`."""

    @classmethod
    def of(cls, event: RunEvent) -> "RunEventReply":
        """Of an event."""
        return cls(
            id=event.id,
            created_at=unix(event.created_at),
            level=event.level,
            message=event.message,
            data=None if event.data is None else dict(event.data),
        )


class RunEventList(Reply):
    """Newest first."""

    object: Literal["list"] = "list"
    data: list[RunEventReply]
    has_more: bool

    @classmethod
    def of(cls, page: Page[RunEvent]) -> "RunEventList":
        """Of a page."""
        return cls(data=[RunEventReply.of(event) for event in page.data], has_more=page.has_more)


class RunCaseReply(Reply):
    """One case and one model's answer to it."""

    object: Literal["evaluation.case"] = "evaluation.case"
    index: int
    """Counted from 0; the cursor of the next page."""
    model: str
    case: dict[str, JsonValue]
    """As the suite has it."""
    answer: CaseReply

    @classmethod
    def of(cls, case: SuiteCase, model: RunModel, answer: CaseResult) -> "RunCaseReply":
        """Of a case and what one model gave on it."""
        return cls(index=answer.index, model=model.model, case=case.to_json(), answer=CaseReply.of(answer))


class RunCaseList(Reply):
    """In the order of the suite."""

    object: Literal["list"] = "list"
    data: list[RunCaseReply]
    has_more: bool

    @classmethod
    def of(cls, suite: Suite, model: RunModel, page: Page[CaseResult]) -> "RunCaseList":
        """Of a page of one model's answers."""
        data = [RunCaseReply.of(suite.cases[answer.index], model, answer) for answer in page.data]
        return cls(data=data, has_more=page.has_more)


class Compared(Reply):
    """One side of a comparison."""

    evaluation: str
    model: str


class DifferenceReply(Reply):
    """One metric of two models on the same cases."""

    metric: str
    before: float | None
    after: float | None
    delta: float | None
    """after - before, whichever of them is better."""
    low: float | None
    """Of delta's 95% bootstrap interval over the cases."""
    high: float | None
    p_value: float
    p_adjusted: float
    """After Holm's correction over the metrics of the comparison; the verdict goes by it."""
    test: Test
    verdict: Verdict
    """`noise`: the cases do not show which is better."""
    num_cases: int

    @classmethod
    def of(cls, difference: Difference) -> "DifferenceReply":
        """Of a difference."""
        return cls(
            metric=difference.metric,
            before=finite(difference.before),
            after=finite(difference.after),
            delta=finite(difference.delta),
            low=finite(difference.interval.low),
            high=finite(difference.interval.high),
            p_value=difference.p_value,
            p_adjusted=difference.p_adjusted,
            test=difference.test,
            verdict=difference.verdict,
            num_cases=difference.num_cases,
        )


class ComparisonReply(Reply):
    """Two models held against each other."""

    object: Literal["evaluation.comparison"] = "evaluation.comparison"
    before: Compared
    after: Compared
    differences: list[DifferenceReply]


class ComparisonList(Reply):
    """One comparison for each pair of models."""

    object: Literal["list"] = "list"
    data: list[ComparisonReply]

    @classmethod
    def of(cls, comparisons: Sequence[Comparison]) -> "ComparisonList":
        """Of what was compared."""
        return cls(
            data=[
                ComparisonReply(
                    before=Compared(evaluation=each.before_run, model=str(each.before.model)),
                    after=Compared(evaluation=each.after_run, model=str(each.after.model)),
                    differences=[DifferenceReply.of(difference) for difference in each.differences],
                )
                for each in comparisons
            ]
        )


def model_reply(model: RunModel) -> RunModelReply:
    """Of a run's model."""
    return RunModelReply(asked=model.asked, model=model.model, digest=model.digest)
