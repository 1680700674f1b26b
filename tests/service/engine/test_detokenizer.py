from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from service.engine.detokenizer import Detokenizer

IDS = st.lists(st.integers(0, 339), max_size=40)
STOPS = st.lists(st.text(alphabet="ab ", min_size=1, max_size=3), max_size=3).map(tuple)


def deltas(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    detokenizer = Detokenizer(tokenizer, stop)
    found = []
    for token in token_ids:
        found.append(detokenizer.add(token))
        if detokenizer.stopped:
            return found
    return [*found, detokenizer.finish()]


def whole(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    return str(tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@given(IDS)
def test_joined_pieces_are_the_decoding_of_all_tokens(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> None:
    assert "".join(deltas(tokenizer, token_ids)) == whole(tokenizer, token_ids)


@given(st.text(max_size=30))
def test_any_text_comes_out_as_it_went_in(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    pieces = deltas(tokenizer, list(tokenizer(text)["input_ids"]))
    assert "".join(pieces) == whole(tokenizer, list(tokenizer(text)["input_ids"]))


@given(st.text(alphabet="ab é", max_size=30), STOPS)
def test_the_text_ends_before_a_stop_string_however_tokens_cut_it(
    tokenizer: PreTrainedTokenizerBase, text: str, stop: tuple[str, ...]
) -> None:
    found = "".join(deltas(tokenizer, list(tokenizer(text)["input_ids"]), stop))
    assert text.startswith(found)
    assert not any(each in found for each in stop)
    if not any(each in text for each in stop):
        assert found == text


def test_a_character_split_over_tokens_comes_whole(tokenizer: PreTrainedTokenizerBase) -> None:
    token_ids = list(tokenizer("a日b")["input_ids"])
    assert len(token_ids) == 5
    assert deltas(tokenizer, token_ids) == ["a", "", "", "日", "b", ""]


def test_what_may_begin_a_stop_string_is_held_back(tokenizer: PreTrainedTokenizerBase) -> None:
    token_ids = list(tokenizer("xqzy")["input_ids"])
    assert len(token_ids) == 4
    assert deltas(tokenizer, token_ids, ("qzz",)) == ["x", "", "", "qzy", ""]
    assert deltas(tokenizer, token_ids, ("qzy",)) == ["x", "", "", ""]
    assert deltas(tokenizer, token_ids[:3], ("qzy",)) == ["x", "", "", "qz"]


def test_an_unfinished_character_at_the_end_is_shown_as_such(tokenizer: PreTrainedTokenizerBase) -> None:
    token_ids = list(tokenizer("a日")["input_ids"])[:-1]
    assert deltas(tokenizer, token_ids)[-1] == "\ufffd"


def test_special_tokens_are_not_shown(tokenizer: PreTrainedTokenizerBase) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert isinstance(end, int)
    assert "".join(deltas(tokenizer, [*tokenizer("ab")["input_ids"], end])) == "ab"


@pytest.fixture(scope="module")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A tokenizer that marks spaces as Llama 2's does and drops the first one when it decodes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {piece: at for at, piece in enumerate(["<unk>", "▁", "▁hello", "▁there", ",", "▁", "!", "s"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    file = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.json"
    tokenizer.save(str(file))
    return PreTrainedTokenizerFast(tokenizer_file=str(Path(file)), clean_up_tokenization_spaces=True)


@given(st.lists(st.sampled_from([2, 3, 4, 6, 7]), max_size=12))
def test_spaces_that_depend_on_what_came_before_come_out_right(
    sentencepiece: PreTrainedTokenizerBase, token_ids: list[int]
) -> None:
    assert "".join(deltas(sentencepiece, token_ids)) == whole(sentencepiece, token_ids)
