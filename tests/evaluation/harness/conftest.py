"""Benchmark files of a few rows each, written for these tests in the forms in which the benchmarks are published."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

Files = Mapping[str, Sequence[Mapping[str, Any]]]


def arc(question: str, *choices: str, right: int = 0) -> dict[str, Any]:
    """AI2's own form."""
    labelled = [{"text": text, "label": "ABCDE"[at]} for at, text in enumerate(choices)]
    return {"id": question[:4], "question": {"stem": question, "choices": labelled}, "answerKey": "ABCDE"[right]}


def _mmlu(subject: str, question: str, answer: int) -> dict[str, Any]:
    return {"subject": subject, "question": question, "choices": ["one", "two", "a ticket", "four"], "answer": answer}


FILES: Files = {
    "arc_easy/test.jsonl": [
        arc("What is the text?", "a ticket", "an order of the user", "the answer", right=2),
        arc("Hello there, what are you?", "a tiny test model", "a refund", right=0),
        arc("What are orders and refunds about?", "tickets", "the system", "1 2 3", "4", "hello again", right=1),
    ],
    "hellaswag/test.jsonl": [
        {"ctx": "Say hello: The user says hello. he", "label": 1, "endings": ["answers again.", "reads.", "is.", "a"]},
        {
            "activity_label": "Orders",
            "ctx_a": "The order is in the ticket.",
            "ctx_b": "the refund",
            "label": "0",
            "endings": ["is in the order.", "answers [substeps] hello.", "says what you are.", "again"],
        },
    ],
    "mmlu/test.jsonl": [_mmlu("anatomy", "What is 1?", 0), _mmlu("virology", "What is 2?", 1)],
    "mmlu/dev.jsonl": [_mmlu("anatomy", "What is 3?", 2), _mmlu("virology", "What is 4?", 3)],
    "truthfulqa_mc/test.jsonl": [
        {
            "question": "What are you?",
            "mc1_targets": {"a refund": 0, "a tiny test model": 1, "the user": 0},
            "mc2_targets": {"a tiny test model": 1, "a refund": 0, "a model": 1},
        }
    ],
    "gsm8k/test.jsonl": [
        {"question": "What is 2 and 2?", "answer": "2 and 2 is 4.\n#### 4"},
        {"question": "What is 1 and 2?", "answer": "It is 3.\n#### 3"},
    ],
    "gsm8k/train.jsonl": [
        {"question": f"What is {at} and 1?", "answer": f"It is {at + 1}.\n#### {at + 1}"} for at in range(1, 7)
    ],
}


def write_files(folder: Path, changed: Files | None = None) -> Path:
    """The files above with some changed, by path; one without rows is left out."""
    for name, rows in {**FILES, **(changed or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows:
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture
def write_data(tmp_path: Path) -> Callable[..., Path]:
    """`write_files` into a folder of the test's own."""
    return lambda changed=None: write_files(tmp_path / "data", changed)
