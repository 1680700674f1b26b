from dataclasses import replace

import pytest

from base.loader import LoadedBase
from base.rendering import Example, Renderer, create_renderer
from corpus.records import Record
from training.errors import NoTrainingRowsError
from training.rows.examples import Encoder, Origin, Prepared, prepare, refuse

LONG = "the answer to the question is in the text of the ticket. " * 4


@pytest.fixture
def encoder(base: LoadedBase, renderer: Renderer) -> Encoder:
    return Encoder(base.tokenizer, renderer)


def chat_record(prompt: str, answer: str, line: int = 1) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Record(kind="chat", file="data.jsonl", line=line, row={}, messages=messages)


def text_record(text: str) -> Record:
    return Record(kind="text", file="data.jsonl", line=1, row={}, text=text)


def test_rows_are_named_by_file_and_line_and_without_files_by_number() -> None:
    row = Example((1, 2), (False, True))
    origins = (Origin("a", 4), Origin("a", 4), Origin("b", 1))
    assert Prepared((row,) * 3, 0, (), origins=origins).places([2, 0, 1, 0]) == "a:4, b:1"
    assert Prepared((row,) * 3, 0, ()).places([2, 0, 2]) == "1, 3"
    assert Prepared((row,) * 99, 0, ()).places(range(99)).endswith("15, 16 and 83 more")


def test_rows_that_fit_are_kept_whole(encoder: Encoder) -> None:
    prepared = prepare([chat_record("a", "b"), chat_record("c", "d")], encoder, 128)
    assert (len(prepared.examples), prepared.num_truncated, prepared.refused) == (2, 0, ())
    assert prepared.examples[0] == encoder(chat_record("a", "b"))
    assert prepared.num_tokens == sum(len(example.input_ids) for example in prepared.examples)
    assert prepared.num_labelled == 4


def test_rows_that_are_cut_off_are_counted(encoder: Encoder) -> None:
    prepared = prepare([chat_record("a", LONG), chat_record("a", "b")], encoder, 60)
    assert prepared.num_truncated == 1
    assert max(len(example.input_ids) for example in prepared.examples) == 60


def test_a_row_whose_answer_is_cut_off_is_refused_with_its_place(encoder: Encoder) -> None:
    prepared = prepare([chat_record("a", "b"), chat_record(LONG, "b", line=7)], encoder, 64)
    assert len(prepared.examples) == 1
    (refused,) = prepared.refused
    assert (refused.file, refused.line) == ("data.jsonl", 7)
    assert "after truncation to 64 tokens: the prompt alone takes" in refused.reason
    assert prepared.num_truncated == 0


def test_a_row_that_the_template_refuses_is_refused_with_the_reason(base: LoadedBase) -> None:
    encoder = Encoder(base.tokenizer, create_renderer(base.tokenizer, "plain"))
    record = replace(
        chat_record("a", "b"), messages=({"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"})
    )
    (refused,) = prepare([record], encoder, 64).refused
    assert "role 'tool'" in refused.reason


def test_text_is_split_into_windows_that_lose_nothing(encoder: Encoder) -> None:
    whole = encoder(text_record(LONG))
    prepared = prepare([text_record(LONG)], encoder, 30)
    assert [token for example in prepared.examples for token in example.input_ids] == list(whole.input_ids)
    assert all(len(example.input_ids) == 30 for example in prepared.examples[:-1])
    assert prepared.num_truncated == 0


def test_a_window_of_one_token_has_nothing_to_learn(encoder: Encoder) -> None:
    length = len(encoder(text_record(LONG)).input_ids)
    assert len(prepare([text_record(LONG)], encoder, length - 1).examples) == 1


def test_refused_rows_stop_a_run_unless_they_may_be_dropped(encoder: Encoder) -> None:
    prepared = prepare([chat_record("a", "b"), chat_record(LONG, "b", line=7)], encoder, 64)
    with pytest.raises(NoTrainingRowsError, match=r"(?s)1 rows cannot.*data\.jsonl:7.*--skip-bad"):
        refuse(prepared, skip_bad=False)
    refuse(prepared, skip_bad=True)


def test_a_run_without_usable_rows_is_refused_whatever_may_be_dropped(encoder: Encoder) -> None:
    prepared = prepare([chat_record(LONG, "b")], encoder, 64)
    with pytest.raises(NoTrainingRowsError, match="no usable rows") as caught:
        refuse(prepared, skip_bad=True)
    assert "--skip-bad" not in str(caught.value)
    with pytest.raises(NoTrainingRowsError):
        refuse(Prepared((), 0, ()), skip_bad=True)
