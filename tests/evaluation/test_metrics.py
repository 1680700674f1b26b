import pytest

from evaluation.errors import NothingToDoError, UnknownMetricError
from evaluation.metrics import METRICS, check_metrics, needs_generate, needs_score


def test_every_metric_is_known_and_needs_something() -> None:
    check_metrics(METRICS)
    assert all(needs_score([metric]) != needs_generate([metric]) for metric in METRICS)


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
