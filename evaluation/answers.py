"""Asking the sampler: every model and case in one call, and a check that all answers came back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.errors import SamplerError
from evaluation.sampler import Completion, GenerateRequest, Sampler, ScoreGroup
from evaluation.scorers.loss import LossSum, loss_sum
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


def score(sampler: Sampler, tasks: Sequence[Task], progress: Progress) -> list[LossSum]:
    """Score each task's expected text, all in one call.

    Raises:
        SamplerError: The scores do not fit the tasks.
    """
    scored = sampler.score(
        [
            ScoreGroup(
                model=task.model,
                context_ids=task.case.context_ids,
                continuations=(task.case.continuation_ids,),
            )
            for task in tasks
        ]
    )
    if len(scored) != len(tasks) or any(len(group.continuations) != 1 for group in scored):
        raise SamplerError(f"{len(tasks)} groups of one continuation were scored, {len(scored)} groups came back.")
    losses = [loss_sum(task.case, group.continuations[0]) for task, group in zip(tasks, scored, strict=True)]
    progress.advance(len(tasks))
    return losses


def generate(
    sampler: Sampler, tasks: Sequence[Task], settings: GenerationSettings, progress: Progress
) -> list[Completion]:
    """Generate an answer for each task, all in one call; in the tasks' order.

    Raises:
        SamplerError: Answers are missing, repeated or of no task.
    """
    completions: dict[int, Completion] = {}
    for completion in sampler.generate([_request(task, settings) for task in tasks]):
        if completion.index in completions or not 0 <= completion.index < len(tasks):
            raise SamplerError(f"completion {completion.index} of {len(tasks)} came twice or was never asked for.")
        completions[completion.index] = completion
        progress.advance(1)
    if len(completions) != len(tasks):
        raise SamplerError(f"{len(completions)} of {len(tasks)} completions came back.")
    return [completions[index] for index in range(len(tasks))]


def _request(task: Task, settings: GenerationSettings) -> GenerateRequest:
    return GenerateRequest(
        model=task.model,
        prompt_ids=task.case.prompt_ids,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        seed=settings.seed,
        stop=settings.stop,
    )
