"""Records and files made on the spot."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from corpus.dataset import Dataset, load
from corpus.records import Record


@pytest.fixture
def chat() -> Callable[..., Record]:
    """`chat("question", "answer", line=1)`"""

    def make(prompt: str, completion: str, line: int = 1, label: str | None = None) -> Record:
        messages = ({"role": "user", "content": prompt}, {"role": "assistant", "content": completion})
        return Record(kind="chat", file="a.jsonl", line=line, row={}, messages=messages, label=label)

    return make


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """`dataset((question, answer), …, name="a.jsonl", columns=("question", "answer"))`, bad rows left out."""

    def make(*rows: Iterable[Any], name: str = "a.jsonl", columns: tuple[str, ...] = ("question", "answer")) -> Dataset:
        path = tmp_path / name
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return load(path, skip_bad=True)

    return make
