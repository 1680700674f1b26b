import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.results import CaseResult
from evaluation.sampler import Completion
from evaluation.scorers.classification import OTHER, Classification
from evaluation.scorers.scorer import Answer

GOLD = ["refund", "delivery", "refund", "other", "delivery", "refund", "account"]
SAID = ["Refund.", "refund", "refund", "delivery", "delivery", "what?", "refund"]


def case(index: int, reference: str, **fields: str) -> Case:
    return Case(index=index, prompt_text="?", reference=reference, prompt_ids=(1,), fields=dict(fields))


def measured(scorer: Classification, cases: list[Case], texts: list[str]) -> list[CaseResult]:
    results = []
    for given, text in zip(cases, texts, strict=True):
        completion = Completion(index=0, text=text, token_ids=(1,), finish_reason="stop", prompt_tokens=1, seconds=0.1)
        score = scorer.score(Answer(case=given, completion=completion))
        results.append(CaseResult(index=given.index, text=text, scores=score.values, details=score.details))
    return results


def test_accuracy_macro_f1_and_confusion_are_scikit_learns() -> None:
    scorer, cases = Classification(), [case(at, label) for at, label in enumerate(GOLD)]
    results = measured(scorer, cases, SAID)
    found = scorer.aggregate(cases, results)
    labels = list(dict.fromkeys(GOLD))
    predicted = ["refund", "refund", "refund", "delivery", "delivery", OTHER, "refund"]
    assert found["accuracy"] == accuracy_score(GOLD, predicted)
    assert found["macro_f1"] == pytest.approx(f1_score(GOLD, predicted, labels=labels, average="macro"))
    table = scorer.confusion(cases, results)
    assert table.predicted == (*labels, OTHER)
    expected = confusion_matrix(GOLD, predicted, labels=[*labels, OTHER])[: len(labels)]
    assert [list(row) for row in table.counts] == expected.tolist()


def test_a_label_of_the_fields_is_the_right_one() -> None:
    scorer, given = Classification(), case(0, "a long answer", label="refund")
    (result,) = measured(scorer, [given], ["refund"])
    assert result.scores["accuracy"] == 1.0
    assert result.details == {"label": "refund", "predicted": "refund"}


def test_a_label_that_is_none_of_the_scorers_is_refused_by_case() -> None:
    with pytest.raises(CaseError, match="case 3: the label 'refund' is none of the scorer's 2 labels"):
        Classification(labels=("yes", "no")).check(case(3, "refund"))
    with pytest.raises(CaseError, match="case 4 has no label"):
        Classification().check(case(4, ""))
