"""One model's cases as one result: also when they were measured one after the other, and read back from rows."""

from collections.abc import Sequence

from evaluation.cases import Case
from evaluation.plan import Plan
from evaluation.results import CaseResult, Confusion, ModelResult
from evaluation.scorers.classification import Classification


def summarise(
    model: str | None,
    cases: Sequence[Case],
    results: Sequence[CaseResult],
    plan: Plan,
    generate_seconds: float | None,
) -> ModelResult:
    """Put the results of one model's cases together; cases with an error count for no metric that they lack.

    Args:
        model: Adapter reference; None is the base.
        cases: In the order of `results`.
        results: One for each case.
        plan: Of the cases.
        generate_seconds: Wall time of the whole mixed batch's generation; None where it is not known.
    """
    generated = sum(result.tokens or 0 for result in results)
    tags = dict.fromkeys(tag for case in cases for tag in case.tags)
    return ModelResult(
        model=model,
        metrics=_metrics(cases, results, plan),
        cases=tuple(results),
        prompt_tokens=sum(
            len(case.prompt_ids) for case, result in zip(cases, results, strict=True) if result.text is not None
        ),
        completion_tokens=generated,
        labelled_tokens=sum(result.labelled_tokens or 0 for result in results),
        tokens_per_second=generated / generate_seconds if generate_seconds and generated else None,
        tags={tag: _metrics(cases, results, plan, tag) for tag in tags},
        confusion=_confusion(cases, results, plan),
    )


def _metrics(
    cases: Sequence[Case], results: Sequence[CaseResult], plan: Plan, tag: str | None = None
) -> dict[str, float]:
    found: dict[str, float] = {}
    for measured in plan.measured:
        places = [place for place in measured.places if tag is None or tag in cases[place].tags]
        if places:
            found |= measured.scorer.aggregate([cases[at] for at in places], [results[at] for at in places])
    return found


def _confusion(cases: Sequence[Case], results: Sequence[CaseResult], plan: Plan) -> Confusion | None:
    for measured in plan.measured:
        if isinstance(measured.scorer, Classification):
            places = measured.places
            return measured.scorer.confusion([cases[at] for at in places], [results[at] for at in places])
    return None
