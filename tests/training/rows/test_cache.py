import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base.loader import LoadedBase
from base.rendering import Example, create_renderer
from corpus.records import Record
from training.rows.cache import TokenCache
from training.rows.examples import Encoder

DATA = "a" * 64


def chat(prompt: str, answer: str, line: int = 1) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Record(kind="chat", file="data.jsonl", line=line, row={}, messages=messages)


RECORDS = (chat("hello", "hello there"), chat("one " * 40, "1", line=2), chat("count", "1 2 3 4 5 " * 10, line=3))


@pytest.fixture
def encoder(base: LoadedBase) -> Encoder:
    return Encoder(base.tokenizer, create_renderer(base.tokenizer))


def store(cache: TokenCache, encoder: Encoder, *records: Record, data: str = DATA) -> list[Example]:
    rows = cache.rows(data, encoder)
    examples = [encoder(record) for record in records]
    for record, example in zip(records, examples, strict=True):
        rows.keep(record, example)
    rows.save()
    return examples


def found(cache: TokenCache, encoder: Encoder, *records: Record, data: str = DATA) -> list[Example | None]:
    rows = cache.rows(data, encoder)
    return [rows.find(record) for record in records]


def test_a_later_run_finds_the_rows_whatever_their_lines_are_now(tmp_path: Path, encoder: Encoder) -> None:
    expected = store(TokenCache(tmp_path), encoder, *RECORDS)
    moved = [replace(record, line=record.line + 7, file="moved.jsonl") for record in RECORDS]
    assert found(TokenCache(tmp_path), encoder, *moved) == expected


def test_rows_of_a_second_run_stand_beside_those_of_the_first(tmp_path: Path, encoder: Encoder) -> None:
    cache = TokenCache(tmp_path)
    expected = [*store(cache, encoder, RECORDS[0]), *store(cache, encoder, *RECORDS[1:])]
    assert found(cache, encoder, *RECORDS) == expected
    assert len(list(tmp_path.iterdir())) == 1


def test_a_text_and_a_chat_of_the_same_words_are_two_rows(tmp_path: Path, encoder: Encoder) -> None:
    text = Record(kind="text", file="data.jsonl", line=1, row={}, text="hello")
    store(TokenCache(tmp_path), encoder, text)
    assert found(TokenCache(tmp_path), encoder, text, RECORDS[0]) == [encoder(text), None]


@pytest.mark.parametrize(
    "change",
    [
        lambda record, encoder: (replace(record, messages=record.messages[:1]), encoder, DATA),
        lambda record, encoder: (replace(record, tools=({"type": "function"},)), encoder, DATA),
        lambda record, encoder: (
            record,
            Encoder(encoder.tokenizer, create_renderer(encoder.tokenizer, "plain")),
            DATA,
        ),
        lambda record, encoder: (record, encoder, "b" * 64),
    ],
    ids=["text", "tools", "template", "data"],
)
def test_whatever_the_rows_depend_on_makes_others(change: Callable[..., Any], tmp_path: Path, encoder: Encoder) -> None:
    cache = TokenCache(tmp_path)
    store(cache, encoder, RECORDS[0])
    record, other, data = change(RECORDS[0], encoder)
    assert found(cache, other, record, data=data) == [None]


def test_a_tokenizer_with_one_more_token_makes_others(tmp_path: Path, save_tokenizer: Callable[..., Any]) -> None:
    cache = TokenCache(tmp_path / "tokens")
    first, second = (save_tokenizer(tmp_path / name) for name in ("one", "two"))
    second.add_tokens(["hello"])
    store(cache, Encoder(first, create_renderer(first)), RECORDS[0])
    assert found(cache, Encoder(second, create_renderer(second)), RECORDS[0]) == [None]


@pytest.mark.parametrize("damage", ["empty", "nonsense", "cut", "flipped"])
def test_a_damaged_file_is_made_again(damage: str, tmp_path: Path, encoder: Encoder) -> None:
    cache = TokenCache(tmp_path)
    store(cache, encoder, *RECORDS)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = bytes([*whole[:-1], whole[-1] ^ 1])
    file.write_bytes({"empty": b"", "nonsense": b"nonsense", "cut": whole[:-7], "flipped": flipped}[damage])
    assert found(cache, encoder, *RECORDS) == [None, None, None]
    expected = store(cache, encoder, *RECORDS)
    assert found(cache, encoder, *RECORDS) == expected


def test_runs_that_meet_in_the_folder_read_whole_files_or_none(tmp_path: Path, encoder: Encoder) -> None:
    expected = [encoder(record) for record in RECORDS]

    def one_run(_: int) -> bool:
        seen = found(TokenCache(tmp_path), encoder, *RECORDS)
        store(TokenCache(tmp_path), encoder, *RECORDS)
        return all(row in (example, None) for row, example in zip(seen, expected, strict=True))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one_run, range(24)))
    assert found(TokenCache(tmp_path), encoder, *RECORDS) == expected
    assert len(list(tmp_path.iterdir())) == 1


def test_the_least_recently_used_files_go_and_what_a_killed_run_left(tmp_path: Path, encoder: Encoder) -> None:
    store(TokenCache(tmp_path), encoder, *RECORDS, data="old")
    (old,) = tmp_path.iterdir()
    size = old.stat().st_size
    cache = TokenCache(tmp_path, max_bytes=2 * size)
    left, young = tmp_path / f".{old.name}.dead", tmp_path / f".{old.name}.busy"
    for file in (left, young):
        file.touch()
    long_ago = time.time() - 100_000
    os.utime(left, (long_ago, long_ago))
    store(cache, encoder, *RECORDS, data="other")
    os.utime(old, (long_ago, long_ago))
    assert found(cache, encoder, RECORDS[0], data="old") == [encoder(RECORDS[0])]  # and is used again
    for file in tmp_path.glob("*.safetensors"):
        if file != old:
            os.utime(file, (long_ago, long_ago))
    store(cache, encoder, *RECORDS, data="new")
    kept = [found(cache, encoder, RECORDS[0], data=data)[0] is not None for data in ("old", "other", "new")]
    assert kept == [True, False, True]
    assert young.exists()
    assert not left.exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "tokens").write_text("a file where the folder should be")
    cache = TokenCache(tmp_path / "tokens")
    store(cache, encoder, RECORDS[0])
    assert found(cache, encoder, RECORDS[0]) == [None]
