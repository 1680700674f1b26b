"""Asking the sampler: every model and case in one call, and a check that all answers came back."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import SamplerError
from evaluation.sampler import Completion, GenerateRequest, Sampler, ScoredContinuation, ScoredGroup, ScoreGroup
from evaluation.settings import GenerationSettings

OnProgress = Callable[[int, int], None]
"""Called with (answers so far, answers in all); scoring a case is one answer, generating for it another."""


@dataclass(frozen=True, slots=True)
class Task:
    """One model on one case."""

    model: str | None
    case: Case


class Progress:
    """Counts answers for a listener."""

    def __init__(self, num_answers: int, listener: OnProgress | None) -> None:
        self._num_answers = num_answers
        self._listener = listener
        self._done = 0

    def advance(self, count: int) -> None:
        """Tell the listener of more answers."""
        self._done += count
        if self._listener is not None:
            self._listener(self._done, self._num_answers)


def score(
    sampler: Sampler, labels: Sequence[Task], choices: Sequence[Task], progress: Progress
) -> tuple[list[ScoredContinuation], list[tuple[ScoredContinuation, ...]]]:
    """Score expected texts and choices, all in one call.

    Returns:
        What each of `labels` found, and what each of `choices` did.

    Raises:
        SamplerError: The scores do not fit the tasks.
    """
    groups = [
        ScoreGroup(model=task.model, context_ids=task.case.context_ids, continuations=(task.case.continuation_ids,))
        for task in labels
    ] + [
        ScoreGroup(model=task.model, context_ids=task.case.choice_context_ids, continuations=task.case.choices)
        for task in choices
    ]
    scored = sampler.score(groups) if groups else []
    if len(scored) != len(groups):
        raise SamplerError(f"{len(groups)} groups were scored, {len(scored)} came back.")
    for asked, found, task in zip(groups, scored, (*labels, *choices), strict=True):
        _check(asked, found, task.case)
    progress.advance(len(groups))
    return [group.continuations[0] for group in scored[: len(labels)]], [
        group.continuations for group in scored[len(labels) :]
    ]


def _check(asked: ScoreGroup, found: ScoredGroup, case: Case) -> None:
    expected = [len(ids) for ids in asked.continuations]
    got = [len(each.logprobs) for each in found.continuations]
    if got != expected or any(len(each.is_greedy) != len(each.logprobs) for each in found.continuations):
        raise SamplerError(f"case {case.index}: continuations of {expected} tokens were scored, {got} came back.")
    if any(math.isnan(logprob) for each in found.continuations for logprob in each.logprobs):
        raise SamplerError(f"case {case.index}: a log probability is NaN.")


def generate(
    sampler: Sampler,
    tasks: Sequence[Task],
    settings: GenerationSettings,
    progress: Progress,
    on_answer: Callable[[int, Completion], None],
) -> None:
    """Generate an answer for each task, all in one call; `on_answer` is told of each with the task's place.

    Raises:
        SamplerError: Answers are missing, repeated or of no task.
    """
    seen: set[int] = set()
    for completion in sampler.generate([_request(task, settings) for task in tasks]) if tasks else ():
        if completion.index in seen or not 0 <= completion.index < len(tasks):
            raise SamplerError(f"completion {completion.index} of {len(tasks)} came twice or was never asked for.")
        seen.add(completion.index)
        on_answer(completion.index, completion)
        progress.advance(1)
    if len(seen) != len(tasks):
        raise SamplerError(f"{len(seen)} of {len(tasks)} completions came back.")


def _request(task: Task, settings: GenerationSettings) -> GenerateRequest:
    return GenerateRequest(
        model=task.model,
        prompt_ids=task.case.prompt_ids,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        stop=settings.stop,
    )
