from collections.abc import Callable
from typing import Any

import pytest

from evaluation.harness import rows


def test_both_forms_of_arc_become_the_hubs() -> None:
    choices = [{"text": "moss", "label": "1"}, {"text": "rust", "label": "2"}]
    hub = {
        "id": "m1",
        "question": "What grows?",
        "choices": {"text": ["moss", "rust"], "label": ["1", "2"]},
        "answerKey": "1",
    }
    own = {"id": "m1", "question": {"stem": "What grows?", "choices": choices}, "answerKey": "1"}
    assert rows.arc(own) == rows.arc(hub) == hub


@pytest.mark.parametrize(
    ("context", "first", "last"),
    [
        ("Cooking: A man stands there. he", "A man stands there.", "he"),
        ("Cooking: He stirs? He tastes. then the man", "He stirs? He tastes.", "then the man"),
        ("How to cook: Take a pot. Fill it.", "Take a pot. Fill it.", ""),
        ("Cooking: A pot: it boils. it", "A pot: it boils.", "it"),
    ],
)
def test_a_joined_context_is_taken_apart_where_the_ending_begins(context: str, first: str, last: str) -> None:
    found = rows.hellaswag({"ctx": context, "label": 3, "endings": list("abcd")})
    assert (found["ctx_a"], found["ctx_b"], found["label"]) == (first, last, "3")
    assert f"{found['activity_label']}: {first}{' ' if last else ''}{last}" == context


def test_the_hubs_form_of_hellaswag_stays() -> None:
    row = {"activity_label": "Diving", "ctx_a": "A boy dives.", "ctx_b": "he", "endings": list("abcd"), "label": "2"}
    assert rows.hellaswag(row) == row


def test_an_answer_of_mmlu_is_an_index_or_a_letter() -> None:
    row = {"subject": "anatomy", "question": "?", "choices": list("wxyz")}
    assert rows.mmlu({**row, "answer": "C"}) == rows.mmlu({**row, "answer": 2})


def test_right_answers_of_truthfulqa_come_first_and_keep_their_order() -> None:
    hub = {"choices": ["b", "d", "a", "c"], "labels": [1, 1, 0, 0]}
    own = {"a": 0, "b": 1, "c": 0, "d": 1}
    found = rows.truthfulqa({"question": "?", "mc1_targets": own, "mc2_targets": hub})
    assert found == {"question": "?", "mc1_targets": hub, "mc2_targets": hub}


@pytest.mark.parametrize(
    ("convert", "row", "reason"),
    [
        (
            rows.arc,
            {"question": "?", "choices": {"text": ["a"], "label": ["A"]}, "answerKey": "B"},
            "none of the labels",
        ),
        (rows.hellaswag, {"ctx": "a: b", "label": 4, "endings": list("abcd")}, "none of the 4 endings"),
        (rows.mmlu, {"subject": "s", "question": "?", "choices": list("abc"), "answer": 0}, "four choices"),
        (rows.mmlu, {"subject": "s", "question": "?", "choices": list("abcd"), "answer": "E"}, "substring"),
        (rows.truthfulqa, {"question": "?", "mc1_targets": {"a": 0}, "mc2_targets": {"a": 1}}, "labelled right"),
        (rows.gsm8k, {"question": "?", "answer": "4"}, "####"),
    ],
)
def test_a_row_that_has_no_right_answer_is_none(
    convert: Callable[[dict[str, Any]], Any], row: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        convert(row)
