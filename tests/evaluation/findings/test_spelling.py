import pytest

from evaluation.findings.spelling import misspelled


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("We did not recieve your adress, so the parcel went back.", ("recieve", "adress")),
        ("The colour of the parcel was recognised, and we cancelled it.", ()),
        ("The tokenizer feeds the finetuning of the model with text.", ()),
        ("Ask Recieve Limited for the parcel that they sent to you.", ()),
        ("Use `recieve` in the following code:\n```\nrecieve = adress\n```\nand it will work.", ()),
        ("recieve", ()),
        ("Wir haben das Paket gestern nicht erhalten und warten nun darauf.", ()),
        ("", ()),
    ],
)
def test_words_of_english_prose_are_checked(text: str, words: tuple[str, ...]) -> None:
    assert misspelled(text, ()) == words


def test_words_of_the_question_are_right_and_near_misses_of_them_are_not() -> None:
    assert misspelled("The recieve call of the module waits for the answer.", ["what is recieve about"]) == ()
    assert misspelled("The loradd command starts the server on your machine.", ["lorad starts it"]) == ("loradd",)
