import math

import pytest
from pydantic import JsonValue

from evaluation.reports.calibration import calibration
from evaluation.results import CaseResult


def case(index: int, *probabilities: float, gold: int) -> CaseResult:
    choice = probabilities.index(max(probabilities))
    logprobs: list[JsonValue] = [math.log(value) - 700 for value in probabilities]
    return CaseResult(index=index, details={"choice": choice, "gold": gold, "choice_logprobs": logprobs})


def test_the_error_is_the_weighted_distance_of_confidence_and_accuracy() -> None:
    cases = [case(0, 0.93, 0.07, gold=0), case(1, 0.95, 0.05, gold=1), case(2, 0.6, 0.4, gold=0)]
    found = calibration(cases)
    assert found is not None
    assert [(each.num_cases, each.accuracy) for each in found.bins] == [(1, 1.0), (2, 0.5)]
    assert found.bins[1].confidence == pytest.approx(0.94)
    assert found.error == pytest.approx((0.4 * 1 + 0.44 * 2) / 3)


def test_without_choices_there_is_none() -> None:
    assert calibration([CaseResult(index=0, text="a")]) is None


def test_choices_that_are_no_number_count_for_nothing_and_impossible_ones_do() -> None:
    lost = CaseResult(index=0, details={"choice": 0, "gold": 0, "choice_logprobs": [math.nan, -1.0]})
    none = CaseResult(index=1, details={"choice": 0, "gold": 0, "choice_logprobs": [-math.inf, -math.inf]})
    sure = CaseResult(index=2, details={"choice": 0, "gold": 0, "choice_logprobs": [-1.0, -math.inf]})
    assert calibration([lost, none]) is None
    found = calibration([lost, none, sure])
    assert found is not None
    assert [(each.confidence, each.num_cases) for each in found.bins] == [(1.0, 1)]
