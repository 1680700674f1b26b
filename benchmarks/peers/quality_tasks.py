"""What adapters are trained and scored on for `benchmarks/quality.py`, and within which budget."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Scored = dict[str, Any]
"""One model's part of `lorad evaluate --json`."""


@dataclass(frozen=True)
class Metric:
    """A figure of a scored model."""

    name: str
    read: Callable[[Scored, list[str]], float]
    """From what was scored, and the references in the order of its cases."""
    lower_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set, with one epoch over some of its rows."""

    train_rows: int
    held_out_rows: int
    batch_size: int
    metrics: tuple[Metric, ...]
    asked: str
    """Metrics of `lorad evaluate`."""
    max_tokens: int = 1
    """Of an answer."""
    max_length: int = 512
    """Of a training row."""
    learning_rate: float = 1e-3


def final_number(text: str) -> str | None:
    """GSM8K's answer: the number after `####`, else the last one; without thousands separators and empty decimals."""
    marked = re.search(r"####\s*\$?(-?[\d,]*\.?\d+)", text)
    numbers = [marked[1]] if marked else re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)
    if not numbers:
        return None
    plain = numbers[-1].replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _figure(name: str) -> Callable[[Scored, list[str]], float]:
    return lambda scored, _references: float(scored["metrics"][name])


def _numbers_right(scored: Scored, references: list[str]) -> float:
    pairs = zip(scored["cases"], references, strict=True)
    right = [final_number(case["text"]) == final_number(reference) for case, reference in pairs]
    return sum(right) / len(right)


_LOSS = Metric("held-out loss", _figure("loss"), lower_is_better=True)

TASKS = {
    "banking77": Task(
        train_rows=480,
        held_out_rows=200,
        batch_size=8,
        metrics=(Metric("accuracy", _figure("exact_match")), _LOSS),
        asked="loss,exact_match",
        max_tokens=20,
    ),
    "gsm8k": Task(
        train_rows=96,
        held_out_rows=100,
        batch_size=4,
        metrics=(Metric("exact match", _numbers_right), _LOSS),
        asked="loss,exact_match",
        max_tokens=160,
        learning_rate=5e-4,
    ),
    "lamini_docs": Task(
        train_rows=160,
        held_out_rows=100,
        batch_size=4,
        metrics=(_LOSS, Metric("ROUGE-L", _figure("rouge_l"))),
        asked="loss,rouge_l",
        max_tokens=64,
    ),
    "alpaca_zh": Task(train_rows=56, held_out_rows=50, batch_size=4, metrics=(_LOSS,), asked="loss", max_length=384),
}
"""By folder of the data."""
