"""Several models on several cases, in one mixed batch."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evaluation.answers import OnProgress, Progress, Task, generate, score
from evaluation.cases import Case
from evaluation.errors import CaseError, NothingToDoError, RepeatedModelError
from evaluation.metrics import GENERATED, SCORED, check_metrics, needs_generate, needs_score
from evaluation.results import CaseResult, ModelResult
from evaluation.sampler import Completion, Sampler
from evaluation.scorers.exact_match import exact_match
from evaluation.scorers.loss import LossSum, total
from evaluation.scorers.rouge import rouge_l
from evaluation.settings import GREEDY, GenerationSettings


@dataclass(frozen=True, slots=True)
class _Answers:
    """What came back, each list parallel to the tasks; empty where it was not asked for."""

    losses: list[LossSum]
    completions: list[Completion]
    generate_seconds: float


def evaluate(
    sampler: Sampler,
    models: Sequence[str | None],
    cases: Sequence[Case],
    metrics: Sequence[str],
    settings: GenerationSettings = GREEDY,
    on_progress: OnProgress | None = None,
) -> list[ModelResult]:
    """Measure models on cases.

    All models and cases go to the sampler together, in one `score` and one `generate` call, and only in those the
    metrics need.

    Args:
        sampler: Runs the models.
        models: Adapter references; None is the base.
        cases: At least one.
        metrics: Names out of `evaluation.metrics.METRICS`.
        settings: How to generate.
        on_progress: Told how far it is.

    Returns:
        One result for each model, in order.

    Raises:
        EvaluationError: A metric, a model or a case is not usable, or the sampler breaks its contract.
    """
    _check(models, cases, metrics)
    tasks = [Task(model, case) for model in models for case in cases]
    asked = needs_score(metrics) + needs_generate(metrics)
    progress = Progress(len(tasks) * asked, on_progress)
    losses = score(sampler, tasks, progress) if needs_score(metrics) else []
    started = time.monotonic()
    completions = generate(sampler, tasks, settings, progress) if needs_generate(metrics) else []
    answers = _Answers(losses, completions, time.monotonic() - started)
    return [
        _result(model, cases, metrics, _slice(answers, start, len(cases)))
        for start, model in zip(range(0, len(tasks), len(cases)), models, strict=True)
    ]


def _check(models: Sequence[str | None], cases: Sequence[Case], metrics: Sequence[str]) -> None:
    check_metrics(metrics)
    if not cases:
        raise NothingToDoError("There are no cases to evaluate on.")
    if not models:
        raise NothingToDoError("No model was named; None is the base.")
    for model in models:
        if models.count(model) > 1:
            raise RepeatedModelError(f"The model {model or 'base'!r} is named {models.count(model)} times.")
    for case in cases:
        if needs_score(metrics) and not case.num_labelled:
            raise CaseError(f"case {case.index} has no labelled continuation, which {_those(metrics, SCORED)} need.")
        if needs_generate(metrics) and not case.prompt_ids:
            raise CaseError(
                f"case {case.index} has no prompt to answer, which {_those(metrics, GENERATED)} need; "
                f"ask only for {', '.join(SCORED)}."
            )


def _those(metrics: Sequence[str], kind: Sequence[str]) -> str:
    return ", ".join(metric for metric in metrics if metric in kind)


def _slice(answers: _Answers, start: int, count: int) -> _Answers:
    """Take one model's answers; the time stays the whole batch's."""
    stop = start + count
    return _Answers(answers.losses[start:stop], answers.completions[start:stop], answers.generate_seconds)


def _result(model: str | None, cases: Sequence[Case], metrics: Sequence[str], answers: _Answers) -> ModelResult:
    results = tuple(_case_results(cases, metrics, answers))
    losses = total(answers.losses)
    values = {
        "loss": losses.loss,
        "perplexity": losses.perplexity,
        "token_accuracy": losses.token_accuracy,
        "exact_match": _mean([result.exact_match for result in results]),
        "rouge_l": _mean([result.rouge_l for result in results]),
    }
    generated = sum(len(completion.token_ids) for completion in answers.completions)
    timed = bool(answers.completions) and answers.generate_seconds > 0
    return ModelResult(
        model=model,
        metrics={metric: values[metric] for metric in metrics},
        cases=results,
        prompt_tokens=sum(completion.prompt_tokens for completion in answers.completions),
        completion_tokens=generated,
        labelled_tokens=losses.num_tokens,
        tokens_per_second=generated / answers.generate_seconds if timed else None,
    )


def _case_results(cases: Sequence[Case], metrics: Sequence[str], answers: _Answers) -> Iterator[CaseResult]:
    for position, case in enumerate(cases):
        loss = answers.losses[position] if answers.losses else None
        completion = answers.completions[position] if answers.completions else None
        text = None if completion is None else completion.text
        yield CaseResult(
            index=case.index,
            text=text,
            finish_reason=None if completion is None else completion.finish_reason,
            exact_match=exact_match(text, case.reference) if text is not None and "exact_match" in metrics else None,
            rouge_l=rouge_l(text, case.reference) if text is not None and "rouge_l" in metrics else None,
            tokens=None if completion is None else len(completion.token_ids),
            seconds=None if completion is None else completion.seconds,
            loss=None if loss is None else loss.loss,
            labelled_tokens=None if loss is None else loss.num_tokens,
        )


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")
