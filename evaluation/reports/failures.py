"""What went wrong: kinds of findings, and the worst cases whole."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.findings.groups import FindingGroup, group
from evaluation.findings.kinds import KINDS
from evaluation.metrics import LOWER_IS_BETTER
from evaluation.reports.blocks import Block, Paragraph, Table, Texts
from evaluation.results import CaseResult, ModelResult
from evaluation.statistics.comparison import case_scores

WORST = 8
"""Cases that are shown whole."""
_SHOWN_CHARS = 2_000
_NOT_TELLING = ("loss", "perplexity", "token_accuracy", "latency_seconds", "tokens_per_second")
"""Of a case that is wrong these say least."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a case asks."""

    prompt: str
    expected: str
    tags: tuple[str, ...] = ()


def findings(models: Sequence[str], results: Sequence[ModelResult]) -> tuple[Block, ...]:
    """How many answers of each model have what wrong with them, and which cases have no score."""
    counts = [Counter(kind for case in result.cases for kind in case.findings) for result in results]
    found = [kind for kind in KINDS if any(count[kind] for count in counts)]
    kinds = sorted(found, key=lambda kind: -max(count[kind] for count in counts))
    groups = {each.kind: each for each in group(results[-1].cases)}
    rows = tuple((kind, *(str(count[kind]) for count in counts), _places(groups.get(kind))) for kind in kinds)
    errors = [
        (model, case) for model, result in zip(models, results, strict=True) for case in result.cases if case.error
    ]
    blocks: tuple[Block, ...] = (
        (Table(columns=("finding", *models, f"worst cases of {models[-1]}"), rows=rows),) if rows else ()
    )
    if errors:
        model, case = errors[0]
        words = f"{len(errors)} answers have no score; the first is case {case.index} of {model}: {case.error}"
        blocks = (Paragraph(text=words), *blocks)
    return blocks


def _places(found: FindingGroup | None) -> str:
    return "" if found is None else ", ".join(f"case {case.index}" for case in found.worst)


def worst(
    models: Sequence[str], results: Sequence[ModelResult], questions: Mapping[int, Question]
) -> tuple[Block, ...]:
    """Where the last model is worst, beside what the others say."""
    metric = telling(results)
    scores = case_scores(results[-1].cases, metric).values
    order = sorted(scores, key=lambda index: scores[index], reverse=metric in LOWER_IS_BETTER)
    perfect = 0.0 if metric in LOWER_IS_BETTER else 1.0
    by_index = [{case.index: case for case in result.cases} for result in results]
    blocks = []
    for index in [index for index in order if scores[index] != perfect][:WORST]:
        question = questions.get(index)
        asked = () if question is None else (("asked", question.prompt), ("expected", question.expected))
        answers = (
            (model, _answer(cases[index], metric))
            for model, cases in zip(models, by_index, strict=True)
            if index in cases
        )
        title = f"case {index}" + (f" ({', '.join(question.tags)})" if question and question.tags else "")
        blocks.append(Texts(title=title, question=_short(asked), answers=_short(answers)))
    if not blocks:
        return ()
    return (Paragraph(text=f"The lowest {metric} of {models[-1]}, or the highest where less is better."), *blocks)


def _short(parts: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (label, text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…") for label, text in parts if text
    )


def _answer(case: CaseResult, metric: str) -> str:
    value = case_scores((case,), metric).values.get(case.index)
    found = [] if value is None else [f"{metric} {value:.4g}"]
    found += list(case.findings)
    choice = case.details.get("choice")
    said = case.text if case.text is not None else "" if choice is None else f"choice {choice}"
    return f"{said}\n({', '.join(found)})" if found else said


def telling(results: Sequence[ModelResult]) -> str:
    """The metric that cases are ranked by: the first that is no loss, if any has values of cases."""
    metrics = [metric for metric in results[-1].metrics if case_scores(results[-1].cases, metric).values]
    of_answers = [metric for metric in metrics if metric not in _NOT_TELLING]
    return next(iter([*of_answers, *metrics]), next(iter(results[-1].metrics), "loss"))
