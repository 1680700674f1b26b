import inspect
import re
from pathlib import Path

import pytest

from evaluation.errors import CaseError, UnknownScorerError
from evaluation.findings.kinds import KINDS
from evaluation.metrics import METRICS
from evaluation.scorers.catalogue import SCORERS, create
from evaluation.scorers.classification import Classification
from evaluation.scorers.spec import ScorerSpec
from tests.evaluation.scorers.answers import make_case, value

DOCUMENT = Path(__file__).parents[3] / "docs" / "suites.md"


def test_parameters_reach_the_scorer_as_its_types() -> None:
    made = create(ScorerSpec("classification", {"labels": ["yes", "no"]}))
    assert isinstance(made, Classification)
    assert made.labels == ("yes", "no")


def test_an_unknown_scorer_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownScorerError, match="Did you mean 'exact_match'") as caught:
        create(ScorerSpec("exact-match"))
    assert all(name in str(caught.value) for name in SCORERS)


def test_an_unknown_or_wrong_parameter_is_named() -> None:
    with pytest.raises(UnknownScorerError, match="'classification' has no parameter 'label'; it has labels"):
        create(ScorerSpec("classification", {"label": "x"}))
    with pytest.raises(UnknownScorerError, match="'loss' has no parameter 'x'; it has none"):
        create(ScorerSpec("loss", {"x": 1}))
    with pytest.raises(UnknownScorerError, match=r"The scorer 'classification'.*valid tuple"):
        create(ScorerSpec("classification", {"labels": 3}))


@pytest.mark.parametrize("name", SCORERS)
def test_every_scorer_is_described_with_its_metrics_and_parameters(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|(.*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    metrics, _, parameters = row.split(" | ")
    assert tuple(re.findall(r"`(\w+)`", metrics)) == tuple(create(ScorerSpec(name)).metrics)
    named = {each for each in inspect.signature(SCORERS[name]).parameters if each != "judge"}
    assert named <= set(re.findall(r"`(\w+)`", parameters))


def test_every_metric_is_some_scorers() -> None:
    assert {metric for name in SCORERS for metric in create(ScorerSpec(name)).metrics} == set(METRICS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_is_described(kind: str) -> None:
    assert f"| `{kind}` |" in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["exact_match", "rouge_l", "bleu", "chrf", "f1", "classification", "sql", "numeric"])
def test_nothing_is_held_against_a_completion_that_is_missing(name: str) -> None:
    params = {"setup_sql": "CREATE TABLE a (b)"} if name == "sql" else {}
    with pytest.raises(CaseError, match=r"case 7.*completion"):
        create(ScorerSpec(name, params)).check(make_case(" ", 7))


def test_other_right_answers_can_stand_alone() -> None:
    assert value(create(ScorerSpec("f1")), "", fields={"answers": ["red"]}) == 0.0
    assert value(create(ScorerSpec("f1")), "red", fields={"answers": ["red", "blue"]}) == 1.0
