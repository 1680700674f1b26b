import pytest

from evaluation.cases import Case
from evaluation.errors import CaseError


def test_labelled_tokens_are_counted() -> None:
    case = Case(index=0, prompt_text="", reference="", context_ids=(1,), continuation_ids=(2, 3, 4))
    assert case.num_labelled == 3
    marked = Case(
        index=0, prompt_text="", reference="", context_ids=(1,), continuation_ids=(2, 3), labelled=(True, False)
    )
    assert marked.num_labelled == 1


def test_marks_must_fit_the_continuation() -> None:
    with pytest.raises(CaseError, match="case 3: 1 marks for 2 continuation tokens"):
        Case(index=3, prompt_text="", reference="", context_ids=(1,), continuation_ids=(2, 3), labelled=(True,))


def test_a_continuation_needs_a_context() -> None:
    with pytest.raises(CaseError, match="case 3: no context"):
        Case(index=3, prompt_text="", reference="", continuation_ids=(2, 3))
