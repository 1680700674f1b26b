"""`lorad generate` and `lorad evaluate` in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.api.schemas.generate import Output
from service.api.schemas.openai import Usage

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""


def test_base_and_adapter_answer_side_by_side(run: Run, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    run("adapters", "import", make_adapter(tmp_path / "a", seed=1), "--name", "support")
    flags = ("--adapter", "base", "--adapter", "support", "--max-tokens", "6", "--json")
    outcome = run("generate", "hello", "refund?", *flags)
    assert outcome.code == 0, outcome.err
    outputs = json.loads(outcome.out)
    assert [(row["prompt_index"], row["adapter"], row["version"]) for row in outputs] == [
        (0, None, None), (0, "support", "support:1"), (1, None, None), (1, "support", "support:1"),
    ]  # fmt: skip
    assert outputs[0]["text"] != outputs[1]["text"]
    # A script reads the same whether a server answers or this process does.
    assert set(outputs[0]) == set(Output.model_fields)
    assert set(outputs[0]["usage"]) == set(Usage.model_fields)


def test_evaluate_measures_each_model(run: Run, make_adapter: Callable[..., Path], rows: Path, tmp_path: Path) -> None:
    run("adapters", "import", make_adapter(tmp_path / "a", seed=1), "--name", "support")
    flags = ("--data", rows, "--model", "base", "--model", "support", "--max-tokens", "4", "--max-rows", "6")
    results = json.loads(run("evaluate", *flags, "--json").out)["results"]
    assert [result["model"] for result in results] == ["tiny", "support:1"]
    assert results[0]["metrics"]["loss"] != results[1]["metrics"]["loss"]
    table = run("evaluate", *flags)
    assert table.code == 0
    assert "rouge_l" in table.out


def test_an_unknown_scorer_is_refused_before_the_base_is_loaded(run: Run, rows: Path) -> None:
    outcome = run("evaluate", "--data", rows, "--metrics", "loss,rouge")
    assert outcome.code == 1
    assert "rouge_l" in outcome.err


def test_a_server_that_is_not_there_is_one_line(run: Run) -> None:
    outcome = run("generate", "hello", "--server", "http://127.0.0.1:9")
    assert outcome.code == 1
    assert "lorad serve" in outcome.err


def test_texts_have_a_loss_and_no_answer(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "tickets and refunds"}\n', encoding="utf-8")
    refused = run("evaluate", "--data", file)
    assert refused.code == 1
    assert "case 0 has no prompt to answer, which exact_match needs" in refused.err
    scored = run("evaluate", "--data", file, "--metrics", "loss,perplexity", "--json")
    assert json.loads(scored.out)["results"][0]["metrics"]["loss"] > 0
