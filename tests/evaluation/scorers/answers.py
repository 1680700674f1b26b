"""Answers as an evaluation hands them to scorers."""

from collections.abc import Sequence
from typing import Any

from evaluation.cases import Case
from evaluation.results import CaseResult
from evaluation.sampler import Completion
from evaluation.scorers.scorer import Answer, Scorer


def make_case(reference: str = "", index: int = 0, **more: Any) -> Case:
    return Case(index=index, prompt_text="", reference=reference, prompt_ids=(1,), **more)


def make_answer(text: str, case: Case, *, tokens: int = 4, seconds: float = 0.5) -> Answer:
    completion = Completion(
        index=0, text=text, token_ids=(1,) * tokens, finish_reason="stop", prompt_tokens=1, seconds=seconds
    )
    return Answer(case=case, completion=completion)


def value(scorer: Scorer, text: str, reference: str = "", **more: Any) -> float | None:
    """The first metric of one answer, as an evaluation gets it."""
    case = make_case(reference, **more)
    scorer.check(case)
    return scorer.score(make_answer(text, case)).values[scorer.metrics[0]]


def aggregate(scorer: Scorer, texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    cases = [make_case(reference, index) for index, reference in enumerate(references)]
    results = [
        CaseResult(index=case.index, text=text, scores=scorer.score(make_answer(text, case)).values)
        for case, text in zip(cases, texts, strict=True)
    ]
    return scorer.aggregate(cases, results)
