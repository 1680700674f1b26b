import pytest

from evaluation.errors import NothingToDoError, UnknownMetricError
from evaluation.metrics import LOWER_IS_BETTER, METRICS, check_metrics
from evaluation.scorers.catalogue import SCORERS


def test_the_metrics_are_those_of_the_scorers() -> None:
    check_metrics(METRICS)
    given = {metric for name in SCORERS for metric in SCORERS[name]().metrics}
    assert given <= set(METRICS)
    assert set(METRICS) >= LOWER_IS_BETTER


def test_an_unknown_metric_names_itself_the_nearest_and_all() -> None:
    with pytest.raises(UnknownMetricError) as caught:
        check_metrics(["loss", "rouge-l"])
    message = str(caught.value)
    assert "'rouge-l'" in message
    assert "Did you mean 'rouge_l'" in message
    assert all(metric in message for metric in METRICS)


def test_no_metric_is_nothing_to_do() -> None:
    with pytest.raises(NothingToDoError, match="perplexity"):
        check_metrics([])
