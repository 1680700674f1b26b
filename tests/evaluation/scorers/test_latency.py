import math

from evaluation.results import CaseResult
from evaluation.scorers.latency import Latency
from tests.evaluation.scorers.answers import make_answer, make_case


def test_an_answers_seconds_and_tokens_a_second() -> None:
    score = Latency().score(make_answer("x", make_case(), tokens=6, seconds=1.5))
    assert score.values == {"latency_seconds": 1.5, "tokens_per_second": 4.0}


def test_speeds_are_averaged_by_time_and_latencies_by_case() -> None:
    cases = [make_case(index=0), make_case(index=1)]
    results = [
        CaseResult(index=0, tokens=10, seconds=1.0, scores={"latency_seconds": 1.0}),
        CaseResult(index=1, tokens=10, seconds=4.0, scores={"latency_seconds": 4.0}),
    ]
    assert Latency().aggregate(cases, results) == {"latency_seconds": 2.5, "tokens_per_second": 4.0}


def test_without_answers_there_is_no_figure() -> None:
    assert all(math.isnan(each) for each in Latency().aggregate([], []).values())
