import json
from collections.abc import Callable
from typing import Any

import pytest

from base.source import BaseSource
from corpus.dataset import Dataset
from service.errors import PreflightError
from service.preflight.machine import MachineMemory
from service.preflight.run import PreflightRequest, fly
from service.preflight.summary import summary
from training.config import TrainingConfig

LoadRows = Callable[..., Dataset]
GOOD = [{"question": f"what is ticket {n} about", "answer": f"about refund {n} of {n * 7}"} for n in range(30)]


def request(source: BaseSource, train: Dataset, **settings: Any) -> PreflightRequest:
    return PreflightRequest(train=train, source=source, device="cpu", **settings)


def test_a_sound_run_is_told_what_it_costs(source: BaseSource, load_rows: LoadRows) -> None:
    flight = fly(request(source, load_rows(*GOOD), validation=load_rows(*GOOD[:2], name="b.jsonl")))
    found = flight.preflight
    found.require()
    assert found.refusals == ()
    assert found.estimate is not None
    assert (found.estimate.steps, found.estimate.fits) == (12, True)
    assert found.validation is not None
    assert found.validation.num_usable == 2
    assert {"leakage"} <= {warning.code for warning in found.warnings}
    assert [choice.name for choice in found.choices] == ["learning_rate", "batch_size"]
    assert "30 rows" in summary(found)
    assert [record.line for record, _ in flight.first_rows(load_rows(*GOOD).records)] == [1]


def test_refusals_name_file_line_value_and_fix(source: BaseSource, load_rows: LoadRows) -> None:
    bad = {"question": "and this?", "answer": "<|im_start|>assistant hi<|im_end|>"}
    data = load_rows(*GOOD, bad, {"question": "what?", "answer": ""})
    preflight = fly(request(source, data)).preflight
    with pytest.raises(PreflightError) as caught:
        preflight.require()
    message = str(caught.value)
    assert f"{data.path}:31: message 2 (assistant) holds '<|im_start|>', a control token of this base" in message
    assert f"{data.path}:32: the completion (field 'answer') is empty" in message
    assert "--skip-bad" in message


def test_a_mask_that_covers_nothing_after_truncation_is_refused(source: BaseSource, load_rows: LoadRows) -> None:
    preflight = fly(request(source, load_rows(*GOOD), config=TrainingConfig(max_length=16))).preflight
    with pytest.raises(PreflightError, match="the limit is 16"):
        preflight.require()
    assert {found.code for found in preflight.refusals} == {"no_label", "nothing_to_learn"}
    assert preflight.estimate is None
    assert "no usable row" in summary(preflight)


def test_rows_are_cut_at_the_bases_context(source: BaseSource, load_rows: LoadRows) -> None:
    long = {"question": "why", "answer": "because " * 400}
    preflight = fly(request(source, load_rows(*GOOD, long), config=TrainingConfig(max_length=100_000))).preflight
    assert preflight.max_length == 256
    assert "truncated" in {found.code for found in preflight.warnings}


def test_bad_rows_of_the_validation_file_are_refused_too(source: BaseSource, load_rows: LoadRows) -> None:
    validation = load_rows(*GOOD[:2], {"question": "what?", "answer": ""}, name="b.jsonl")
    preflight = fly(request(source, load_rows(*GOOD), validation=validation)).preflight
    with pytest.raises(PreflightError, match=r"b\.jsonl:3"):
        preflight.require()


def test_too_little_memory_is_a_warning_with_the_way_out(
    source: BaseSource, load_rows: LoadRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = MachineMemory(free_bytes=400_000, resident_bytes=0)
    monkeypatch.setattr("service.preflight.run.machine_memory", lambda _device: little)
    preflight = fly(request(source, load_rows(*GOOD))).preflight
    (warning,) = [found for found in preflight.warnings if found.code == "memory"]
    assert "free are 0.0" in warning.message
    assert preflight.estimate is not None
    assert not preflight.estimate.fits
    assert all(remedy.change in warning.fix for remedy in preflight.estimate.remedies)


def test_a_preflight_is_json(source: BaseSource, load_rows: LoadRows) -> None:
    plain = json.loads(
        json.dumps(fly(request(source, load_rows(*GOOD, {"question": "q", "answer": ""}))).preflight.to_json())
    )
    assert plain["refused"] is True
    assert plain["train"]["findings"][0]["code"] == "bad_rows"
    assert plain["estimate"]["memory"]["weights_bytes"] > 0
    assert plain["base"]["template"] == "chat"
    assert plain["choices"][0]["reason"]


def test_of_preference_pairs_both_conversations_are_paid_for(source: BaseSource, load_rows: LoadRows) -> None:
    pairs = [
        {"prompt": f"what is ticket {n} about", "chosen": f"about refund {n}", "rejected": "no idea " * 20}
        for n in range(30)
    ]
    one, both = (
        fly(request(source, load_rows(*pairs), config=TrainingConfig(method=method))).preflight.estimate
        for method in ("sft", "dpo")
    )
    assert one is not None
    assert both is not None
    assert both.steps == one.steps
    assert both.epoch_tokens > 2 * one.epoch_tokens
    assert both.memory.activations_bytes > 2 * one.memory.activations_bytes
    assert f"{both.epoch_tokens:,} tokens" in summary(
        fly(request(source, load_rows(*pairs), config=TrainingConfig(method="dpo"))).preflight
    )
