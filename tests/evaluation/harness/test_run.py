from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from transformers import AutoTokenizer

from evaluation.errors import NothingToDoError, RepeatedModelError
from evaluation.harness.model import Tokenizer
from evaluation.harness.run import BenchmarkOptions, Measured, run_benchmarks
from tests.evaluation.harness.test_answers import Recorded

BASE = Measured(model=None, digest="sha256:base")
TUNED = Measured(model="tuned:1", digest="sha256:tuned")


def test_models_are_asked_the_same_questions_at_once(tiny_base_folder: Path, write_data: Callable[..., Path]) -> None:
    sampler, tokenizer = Recorded(), cast("Tokenizer", AutoTokenizer.from_pretrained(tiny_base_folder))
    options = BenchmarkOptions(benchmarks=("gsm8k", "arc_easy"), data=write_data(), limit=2)
    results = run_benchmarks(sampler, tokenizer, 4096, [BASE, TUNED], options)
    assert [(result.model, result.digest) for result in results] == [(None, "sha256:base"), ("tuned:1", "sha256:tuned")]
    # Five examples drawn from six: with other ones for each model there would be twice as many prompts.
    (asked,) = sampler.generated
    assert len({request.prompt_ids for request in asked}) == 2
    assert all(request.stop[0] == "Question:" and request.max_tokens == 256 for request in asked)
    assert len(sampler.scored) == 2, "the questions, and the proof"
    assert [task.task for task in results[0].tasks] == ["gsm8k", "arc_easy"]
    for result in results:
        assert all(task.num_questions == 2 for task in result.tasks)
        assert [question.index for question in result.tasks[1].questions] == [0, 1]
        assert set(result.tasks[1].metrics) == set(result.tasks[1].errors) == {"acc", "acc_norm"}
        assert set(result.tasks[0].metrics) == {"exact_match,strict-match", "exact_match,flexible-extract"}
    assert results[0].applied is None
    assert results[1].applied is not None
    short = results[1].to_json(questions=False)["tasks"][0]
    assert set(short) == {"task", "metrics", "errors", "num_questions"}


def test_what_there_is_nothing_to_do_for_is_refused(tiny_base_folder: Path) -> None:
    tokenizer = cast("Tokenizer", AutoTokenizer.from_pretrained(tiny_base_folder))
    for models, names, error in (
        ([], ("gsm8k",), NothingToDoError),
        ([BASE], (), NothingToDoError),
        ([BASE, TUNED, BASE], ("gsm8k",), RepeatedModelError),
    ):
        with pytest.raises(error):
            run_benchmarks(Recorded(), tokenizer, 4096, models, BenchmarkOptions(benchmarks=names))
