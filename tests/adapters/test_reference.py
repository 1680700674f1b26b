import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import InvalidNameError
from adapters.reference import Reference

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
NUMBERS = st.integers(min_value=1, max_value=999_999_999)
REFERENCES = st.one_of(
    st.builds(lambda name: Reference(name=name), NAMES),
    st.builds(lambda name, number: Reference(name=name, number=number), NAMES, NUMBERS),
    st.builds(lambda name, alias: Reference(name=name, alias=alias), NAMES, NAMES),
    st.builds(lambda name, step: Reference(name=name, checkpoint_step=step), NAMES, NUMBERS),
)


@given(REFERENCES)
def test_a_reference_survives_being_written_and_read(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.text() | st.text(alphabet="aZ0:@-._ckpt/\\\n\x00٣"))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidNameError:
        return
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("support", Reference(name="support")),
        ("support:3", Reference(name="support", number=3)),
        ("support@production", Reference(name="support", alias="production")),
        ("support:ckpt-step-100", Reference(name="support", checkpoint_step=100)),
    ],
)
def test_each_form_means_what_it_says(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "Support", "a/b", "../a", "a:0", "a:01", "a:-1", "a:", "a@", "a@B", "a:1@b", "a@b:1", "a:1:2", "a\n", "a:1\n",
     "a:9999999999", "a:ckpt-step-", "a:ckpt-step-0", "a:latest", "a" * 65, ".a", "-a", "a:٣", "a b"],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match="not valid"):
        Reference.parse(text)


def test_two_selectors_are_refused() -> None:
    with pytest.raises(InvalidNameError, match="2 selectors"):
        Reference(name="a", number=1, alias="b")


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidNameError, match=r"1\.\.999999999"):
        Reference(name="a", number=-1)
