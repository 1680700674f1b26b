from collections.abc import Iterator, Sequence

import pytest

from evaluation.errors import SamplerError
from evaluation.harness.answers import Answers, Question
from evaluation.sampler import Completion, GenerateRequest, ScoredContinuation, ScoredGroup, ScoreGroup


class Recorded:
    """A sampler whose answers tell what was asked, and that keeps the calls."""

    def __init__(self, *, loses: bool = False) -> None:
        self.scored: list[list[ScoreGroup]] = []
        self.generated: list[list[GenerateRequest]] = []
        self._loses = loses

    def score(self, groups: Sequence[ScoreGroup]) -> list[ScoredGroup]:
        self.scored.append(list(groups))
        return [ScoredGroup(continuations=tuple(map(self._scored, self._kept(group)))) for group in groups]

    def generate(self, requests: Sequence[GenerateRequest]) -> Iterator[Completion]:
        self.generated.append(list(requests))
        for index, request in reversed(list(enumerate(requests))[self._loses :]):
            text = f"{request.model} says {request.prompt_ids}"
            yield Completion(index=index, text=text, token_ids=(1,), finish_reason="stop", prompt_tokens=1, seconds=0.1)

    def _kept(self, group: ScoreGroup) -> list[tuple[str | None, tuple[int, ...]]]:
        return [(group.model, continuation) for continuation in group.continuations[self._loses :]]

    def _scored(self, asked: tuple[str | None, tuple[int, ...]]) -> ScoredContinuation:
        model, continuation = asked
        factor = 1.0 if model is None else 2.0
        return ScoredContinuation(
            logprobs=tuple(-factor * token for token in continuation), is_greedy=(True,) * len(continuation)
        )


PAIRS = [((1, 2), (3,)), ((1, 2), (4, 5)), ((7,), (3,)), ((1, 2), (3,))]


def test_all_models_are_scored_at_once_and_each_context_with_all_that_follows_it() -> None:
    sampler, reports = Recorded(), []
    answers = Answers(sampler, [None, "tuned"], lambda done, total: reports.append((done, total)))
    assert [found.logprobs for found in answers.scores(None, PAIRS)] == [(-3,), (-4, -5), (-3,), (-3,)]
    assert [found.logprobs for found in answers.scores("tuned", PAIRS)] == [(-6,), (-8, -10), (-6,), (-6,)]
    (groups,) = sampler.scored
    assert [(group.model, group.context_ids, group.continuations) for group in groups] == [
        (None, (1, 2), ((3,), (4, 5))),
        ("tuned", (1, 2), ((3,), (4, 5))),
        (None, (7,), ((3,),)),
        ("tuned", (7,), ((3,),)),
    ]
    assert reports[-1] == (4, 4)


def test_only_what_is_new_is_asked() -> None:
    sampler = Recorded()
    answers = Answers(sampler, [None])
    answers.scores(None, PAIRS)
    answers.scores(None, [*PAIRS, ((1, 2), (9,))])
    assert [group.continuations for group in sampler.scored[1]] == [((9,),)]


def test_all_models_answer_at_once_in_whatever_order() -> None:
    sampler = Recorded()
    answers = Answers(sampler, [None, "tuned"])
    questions = [Question(prompt_ids=(at,), max_tokens=4, temperature=0.0, stop=("\n",)) for at in (1, 2, 1)]
    assert answers.texts("tuned", questions) == ["tuned says (1,)", "tuned says (2,)", "tuned says (1,)"]
    assert answers.texts(None, questions) == ["None says (1,)", "None says (2,)", "None says (1,)"]
    assert [len(requests) for requests in sampler.generated] == [4]


def test_a_sampler_that_loses_answers_is_found_out() -> None:
    with pytest.raises(SamplerError, match="continuations"):
        Answers(Recorded(loses=True), [None]).scores(None, PAIRS)
    question = Question(prompt_ids=(1,), max_tokens=4, temperature=0.0, stop=())
    with pytest.raises(SamplerError, match="no answer to request 0"):
        Answers(Recorded(loses=True), [None]).texts(None, [question])
