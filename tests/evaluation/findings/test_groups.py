from evaluation.findings.groups import group
from evaluation.results import CaseResult


def result(index: int, *findings: str, text: str | None = "x", **scores: float | None) -> CaseResult:
    return CaseResult(index=index, text=text, scores=scores, findings=findings)


def test_kinds_are_counted_and_the_worst_answers_come_first() -> None:
    groups = group(
        [
            result(0, "too_long", f1=0.5, latency_seconds=0.1),
            result(1, "empty", "too_long", f1=0.2, latency_seconds=9.0),
            result(2, f1=1.0),
            result(3, "too_long", f1=0.1, judge=None),
            result(4, text=None),
        ],
        num_worst=2,
    )
    assert [(each.kind, each.count, each.share) for each in groups] == [("too_long", 3, 0.75), ("empty", 1, 0.25)]
    assert [case.index for case in groups[0].worst] == [3, 1]


def test_answers_without_findings_make_no_groups() -> None:
    assert group([result(0, f1=0.0)]) == ()
    assert group([]) == ()
