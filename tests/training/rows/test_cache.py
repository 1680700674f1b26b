from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from base.loader import LoadedBase
from base.rendering import create_renderer
from corpus.records import Record
from training.rows import cache
from training.rows.cache import TokenCache
from training.rows.examples import Encoder, Prepared, prepare


def chat(prompt: str, answer: str, line: int = 1) -> Record:
    messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": answer})
    return Record(kind="chat", file="data.jsonl", line=line, row={}, messages=messages)


RECORDS = (chat("hello", "hello there"), chat("one " * 40, "1", line=2), chat("count", "1 2 3 4 5 " * 10, line=3))


@pytest.fixture
def encoder(base: LoadedBase) -> Encoder:
    return Encoder(base.tokenizer, create_renderer(base.tokenizer))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each real encoding had."""
    calls: list[int] = []

    def counted(records: Any, *others: Any) -> Prepared:
        calls.append(len(records))
        return prepare(records, *others)

    monkeypatch.setattr(cache, "prepare", counted)
    return calls


def test_the_second_time_the_same_rows_come_from_disk(tmp_path: Path, encoder: Encoder, encoded: list[int]) -> None:
    expected = prepare(RECORDS, encoder, 60)
    assert expected.refused
    assert expected.num_truncated
    assert [TokenCache(tmp_path).prepare(RECORDS, encoder, 60) for _ in range(2)] == [expected, expected]
    assert encoded == [3]


@pytest.mark.parametrize(
    "change",
    [
        lambda records, encoder, length: (records[:2], encoder, length),
        lambda records, encoder, length: ((replace(records[0], line=9), *records[1:]), encoder, length),
        lambda records, encoder, length: ((chat("hello", "hello, there"), *records[1:]), encoder, length),
        lambda records, encoder, length: (records, encoder, length + 1),
        lambda records, encoder, length: (
            records,
            Encoder(encoder.tokenizer, create_renderer(encoder.tokenizer, "plain")),
            length,
        ),
    ],
    ids=["fewer rows", "line", "text", "length", "template"],
)
def test_whatever_the_rows_depend_on_makes_others(
    change: Callable[..., Any], tmp_path: Path, encoder: Encoder, encoded: list[int]
) -> None:
    rows = TokenCache(tmp_path)
    rows.prepare(RECORDS, encoder, 60)
    changed = change(RECORDS, encoder, 60)
    assert rows.prepare(*changed) == prepare(*changed)
    assert len(encoded) == 2


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_made_again(
    damage: bytes | None, tmp_path: Path, encoder: Encoder, encoded: list[int]
) -> None:
    rows = TokenCache(tmp_path)
    expected = rows.prepare(RECORDS, encoder, 60)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7] if damage is None else damage)
    assert [rows.prepare(RECORDS, encoder, 60) for _ in range(2)] == [expected, expected]
    assert len(encoded) == 2


def test_runs_that_meet_in_the_folder_agree(tmp_path: Path, encoder: Encoder) -> None:
    expected = prepare(RECORDS, encoder, 60)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: TokenCache(tmp_path).prepare(RECORDS, encoder, 60), range(24)))
    assert all(rows == expected for rows in found)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_least_recently_used_rows_go(
    tmp_path: Path, encoder: Encoder, encoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_KEPT", 2)
    rows = TokenCache(tmp_path)
    for length in (60, 61, 62):
        rows.prepare(RECORDS, encoder, length)
    assert len(list(tmp_path.iterdir())) == 2
    rows.prepare(RECORDS, encoder, 62)
    assert len(encoded) == 3
