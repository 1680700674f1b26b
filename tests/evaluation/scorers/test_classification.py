from dataclasses import replace

import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.results import CaseResult
from evaluation.sampler import Completion
from evaluation.scorers.classification import OTHER, Classification
from evaluation.scorers.scorer import Answer
from evaluation.scorers.spec import ScorerSpec

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


def test_labels_that_fold_alike_are_one_and_cases_may_have_lists_of_their_own() -> None:
    gold, said = ["Billing", "billing", "queue", "a"], ["billing", "BILLING", "c", "queue"]
    own = (ScorerSpec("classification", {"labels": ["a", "C"]}),)
    cases = [case(at, label) for at, label in enumerate(gold[:3])]
    cases.append(replace(case(3, gold[3]), scorers=own))
    scorer = Classification(labels=("Billing", "queue"))
    for given in cases[:3]:
        scorer.check(given)
    results = measured(scorer, cases, said)
    found, folded = scorer.aggregate(cases, results), [[text.lower() for text in texts] for texts in (gold, said)]
    assert found["accuracy"] == accuracy_score(*folded)
    assert found["macro_f1"] == pytest.approx(f1_score(*folded, labels=["billing", "queue", "a", "c"], average="macro"))
    assert scorer.confusion(cases, results).labels == ("Billing", "queue", "a", "C")


def test_a_label_that_is_answered_and_never_right_counts_and_one_that_is_neither_does_not() -> None:
    scorer, gold, said = Classification(labels=("a", "b", "c", "d")), ["a", "b", "a"], ["a", "b", "c"]
    cases = [case(at, label) for at, label in enumerate(gold)]
    expected = f1_score(gold, said, labels=["a", "b", "c"], average="macro", zero_division=0)
    assert scorer.aggregate(cases, measured(scorer, cases, said))["macro_f1"] == pytest.approx(expected)


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
