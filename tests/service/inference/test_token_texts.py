from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from service.inference.token_texts import CharacterCount, TokenTexts

TEXT = "hello there, 日本 é 😀\n\n  ticket 42"


@pytest.fixture(scope="module")
def byte_level(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base_folder)
    return loaded


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerBase:
    """As Gemma's: SentencePiece's spaces, and bytes for what the vocabulary lacks."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = ["<unk>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁helotrick42,日"]
    model = models.BPE({piece: at for at, piece in enumerate(vocabulary)}, [], byte_fallback=True, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>")


def test_the_tokens_of_a_text_write_it_byte_for_byte(byte_level: PreTrainedTokenizerBase) -> None:
    texts = TokenTexts(byte_level)
    ids = byte_level(TEXT)["input_ids"]
    assert b"".join(texts.raw(token) for token in ids).decode() == TEXT
    assert texts.text(tuple(ids)) == TEXT


def test_sentencepiece_tokens_keep_their_spaces_and_bytes(pieces: PreTrainedTokenizerBase) -> None:
    texts = TokenTexts(pieces)
    ids = pieces(TEXT)["input_ids"]
    assert b"".join(texts.raw(token) for token in ids).decode() == TEXT


def test_a_part_of_a_character_has_a_key_of_its_own(byte_level: PreTrainedTokenizerBase) -> None:
    texts = TokenTexts(byte_level)
    keys = [texts.key(token) for token in byte_level("日")["input_ids"]]
    assert keys == ["bytes:\\xe6", "bytes:\\x97", "bytes:\\xa5"]
    assert texts.shown(byte_level("日")["input_ids"][0]) == "\ufffd"


def test_special_tokens_are_told_apart_and_shown(byte_level: PreTrainedTokenizerBase) -> None:
    texts = TokenTexts(byte_level)
    end = byte_level.convert_tokens_to_ids("<|im_end|>")
    assert isinstance(end, int)
    assert texts.is_special(end)
    assert texts.key(end) == "<|im_end|>"
    assert not texts.is_special(byte_level("hello")["input_ids"][0])


def test_an_id_beyond_the_vocabulary_writes_nothing(byte_level: PreTrainedTokenizerBase) -> None:
    assert TokenTexts(byte_level).raw(len(byte_level) + 5) == b""


def test_characters_are_counted_once_they_are_complete() -> None:
    count = CharacterCount()
    assert [count.add(raw) for raw in (b"a", b"\xe6\x97", b"\xa5b", b"")] == [1, 0, 2, 0]


def test_every_token_of_a_vocabulary_has_bytes(
    save_tokenizer: Callable[..., PreTrainedTokenizerBase], tmp_path: Path
) -> None:
    texts = TokenTexts(save_tokenizer(tmp_path))
    assert all(texts.raw(token) for token in range(340))
