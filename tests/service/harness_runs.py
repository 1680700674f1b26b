"""Runs of lm-evaluation-harness to be held against each other, on a tiny base that takes in whole prompts."""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

CONTEXT_TOKENS = 4096
TOLERANCE_NATS = 2e-3
"""Between two ways to sum float32 numbers, over the tokens of a choice."""

Samples = Mapping[tuple[str, int, str], Mapping[str, Any]]
"""By task, question and filter."""


def make_long_base(folder: Path, tiny_base: Path) -> Path:
    """The tiny base with room for five worked examples."""
    shutil.copytree(tiny_base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT_TOKENS}))
    return folder


def hf_model(base: Path, adapter: Path | None) -> HFLM:
    """The harness's own backend: plain transformers, plain PEFT, float32.

    One prompt at a time: of several it goes on with those that have met their stop string until all have, and then
    finds no stop string that is a special token.
    """
    peft = {} if adapter is None else {"peft": str(adapter)}
    return HFLM(pretrained=str(base), device="cpu", dtype="float32", batch_size=1, **peft)


def run_harness(model: Any, tasks_folder: Path, tasks: list[str], **options: Any) -> Samples:
    """Every question as the harness logs it."""
    with warnings.catch_warnings():
        # The harness and PEFT use what torch and transformers deprecate.
        warnings.simplefilter("ignore")
        manager = TaskManager(include_path=tasks_folder, include_defaults=False)
        built = model() if callable(model) and not hasattr(model, "loglikelihood") else model
        found = simple_evaluate(model=built, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options)
    assert found is not None
    return {
        (task, sample["doc_id"], sample["filter"]): sample
        for task, samples in found["samples"].items()
        for sample in samples
    }


def largest_difference(one: list[Any], other: list[Any]) -> float:
    """Between two answers to a question, in nats; texts and flags must be equal.

    Args:
        one: for each choice a log-likelihood and a flag, or a text.
        other: likewise.
    """
    largest = 0.0
    for mine, yours in zip(one, other, strict=True):
        if isinstance(mine, str):
            assert mine == yours
        else:
            assert bool(mine[1]) == bool(yours[1])
            largest = max(largest, abs(mine[0] - yours[0]))
    return largest
