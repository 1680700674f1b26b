"""Several models on several cases, in one mixed batch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from evaluation.answers import OnProgress, Progress, Task, generate, score
from evaluation.cases import Case
from evaluation.errors import NothingToDoError, RepeatedModelError
from evaluation.findings.kinds import findings_of
from evaluation.judging.judge import Judge
from evaluation.plan import Plan
from evaluation.results import CaseResult, ModelResult
from evaluation.sampler import Completion, Sampler
from evaluation.scorers.loss import loss_sum
from evaluation.scorers.scorer import Answer, Scorer
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GREEDY, GenerationSettings
from evaluation.summary import summarise

OnCase = Callable[[str | None, CaseResult], None]
"""Called with a model and its result of a case as soon as that is complete."""


def evaluate(
    sampler: Sampler,
    models: Sequence[str | None],
    cases: Sequence[Case],
    scorers: Sequence[ScorerSpec],
    settings: GenerationSettings = GREEDY,
    on_progress: OnProgress | None = None,
    on_case: OnCase | None = None,
    judge: Judge | None = None,
) -> list[ModelResult]:
    """Measure models on cases.

    All models and cases go to the sampler together, in one `score` and one `generate` call, and only in those the
    scorers need.

    Args:
        sampler: Runs the models.
        models: Adapter references; None is the base.
        cases: At least one; such as `Plan.check` finds nothing wrong with.
        scorers: Of every case that has none of its own.
        settings: How to generate.
        on_progress: Told how far it is.
        on_case: Told of each case of a model as it is complete.
        judge: For the scorer `judge`.

    Returns:
        One result for each model, in order.

    Raises:
        EvaluationError: A scorer, a model or a case is not usable, or the sampler breaks its contract.
    """
    _check(models)
    plan = Plan(cases, scorers, judge)
    tasks = [Task(model, case) for model in models for case in cases]
    labelled, choosing, asked = (
        [start + place for start in range(0, len(tasks), len(cases)) for place in plan.places(need)]
        for need in ("labels", "choices", "text")
    )
    progress = Progress(len(labelled) + len(choosing) + len(asked), on_progress)
    labels, choices = score(sampler, [tasks[at] for at in labelled], [tasks[at] for at in choosing], progress)
    labels_of, choices_of = dict(zip(labelled, labels, strict=True)), dict(zip(choosing, choices, strict=True))
    results: dict[int, CaseResult] = {}

    def complete(at: int, completion: Completion | None) -> None:
        answer = Answer(
            case=tasks[at].case, labels=labels_of.get(at), choices=choices_of.get(at, ()), completion=completion
        )
        results[at] = _result(answer, plan.scorers(at % len(cases)))
        if on_case is not None:
            on_case(tasks[at].model, results[at])

    for at in sorted(set(range(len(tasks))) - set(asked)):
        complete(at, None)
    started = time.monotonic()
    generate(
        sampler, [tasks[at] for at in asked], settings, progress, lambda place, found: complete(asked[place], found)
    )
    seconds = time.monotonic() - started if asked else None
    in_order = [results[at] for at in range(len(tasks))]
    return [
        summarise(model, cases, in_order[start : start + len(cases)], plan, seconds)
        for start, model in zip(range(0, len(tasks), len(cases)), models, strict=True)
    ]


def _check(models: Sequence[str | None]) -> None:
    if not models:
        raise NothingToDoError("No model was named; None is the base.")
    for model in models:
        if models.count(model) > 1:
            raise RepeatedModelError(f"The model {model or 'base'!r} is named {models.count(model)} times.")


def _result(answer: Answer, scorers: Sequence[Scorer]) -> CaseResult:
    found = [scorer.score(answer) for scorer in scorers]
    loss = None if answer.labels is None else loss_sum(answer.case, answer.labels)
    completion = answer.completion
    result = CaseResult(
        index=answer.case.index,
        text=None if completion is None else completion.text,
        finish_reason=None if completion is None else completion.finish_reason,
        tokens=None if completion is None else len(completion.token_ids),
        seconds=None if completion is None else completion.seconds,
        loss=None if loss is None else loss.loss,
        labelled_tokens=None if loss is None else loss.num_tokens,
        scores={metric: value for each in found for metric, value in each.values.items()},
        details={name: value for each in found for name, value in each.details.items()},
        error=next((each.error for each in found if each.error is not None), None),
    )
    return replace(result, findings=findings_of(answer.case, result))
