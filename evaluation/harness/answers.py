"""All models' answers to what the harness asks of one of them.

The harness runs one model after another, and asks each the same. At the first question all models answer, mixed in one
batch; the others find their answers here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.errors import SamplerError
from evaluation.sampler import Completion, GenerateRequest, Sampler, ScoredContinuation, ScoreGroup

OnProgress = Callable[[int, int], None]
"""Told how many answers are there, and how many are known to be wanted."""

_GROUPS_A_CALL = 1024
"""Between two reports of progress; so many that the sampler's batches hardly ever run dry."""

Tokens = tuple[int, ...]
Pair = tuple[Tokens, Tokens]
"""A context and a continuation."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt to be answered, for every model alike."""

    prompt_ids: Tokens
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]


class Answers:
    """What the models said, each thing asked once.

    Args:
        sampler: runs the models.
        models: adapter references; None is the base.
        on_progress: told how far it is.
    """

    def __init__(self, sampler: Sampler, models: Sequence[str | None], on_progress: OnProgress | None = None) -> None:
        self._sampler = sampler
        self._models = tuple(models)
        self._on_progress = on_progress
        self._scores: dict[tuple[str | None, Pair], ScoredContinuation] = {}
        self._texts: dict[tuple[str | None, Question], str] = {}
        self._done = self._total = 0

    def scores(self, model: str | None, pairs: Sequence[Pair]) -> list[ScoredContinuation]:
        """How likely one model finds each continuation after its context, in order."""
        new = [pair for pair in dict.fromkeys(pairs) if (model, pair) not in self._scores]
        if new:
            self._score(new)
        return [self._scores[model, pair] for pair in pairs]

    def texts(self, model: str | None, questions: Sequence[Question]) -> list[str]:
        """What one model answers, in order."""
        new = [question for question in dict.fromkeys(questions) if (model, question) not in self._texts]
        if new:
            self._generate(new)
        return [self._texts[model, question] for question in questions]

    def _score(self, pairs: Sequence[Pair]) -> None:
        by_context: dict[Tokens, list[Tokens]] = {}
        for context, continuation in pairs:
            by_context.setdefault(context, []).append(continuation)
        groups = [
            ScoreGroup(model=model, context_ids=context, continuations=tuple(continuations))
            for context, continuations in by_context.items()
            for model in self._models
        ]
        self._expect(len(groups))
        for first in range(0, len(groups), _GROUPS_A_CALL):
            some = groups[first : first + _GROUPS_A_CALL]
            for group, scored in zip(some, self._sampler.score(some), strict=True):
                if len(scored.continuations) != len(group.continuations):
                    raise SamplerError("the sampler returned another number of continuations than it was given.")
                for continuation, found in zip(group.continuations, scored.continuations, strict=True):
                    self._scores[group.model, (group.context_ids, continuation)] = found
            self._advance(len(some))

    def _generate(self, questions: Sequence[Question]) -> None:
        asked = [(model, question) for question in questions for model in self._models]
        self._expect(len(asked))
        requests = [
            GenerateRequest(
                model=model,
                prompt_ids=question.prompt_ids,
                max_tokens=question.max_tokens,
                temperature=question.temperature,
                stop=question.stop,
                seed=0,
            )
            for model, question in asked
        ]
        answers: dict[int, Completion] = {}
        for completion in self._sampler.generate(requests):
            answers[completion.index] = completion
            self._advance(1)
        for index, key in enumerate(asked):
            if index not in answers:
                raise SamplerError(f"the sampler gave no answer to request {index}.")
            self._texts[key] = answers[index].text

    def _expect(self, num: int) -> None:
        self._total += num
        self._advance(0)

    def _advance(self, num: int) -> None:
        self._done += num
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)
