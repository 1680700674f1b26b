import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from adapters.files import MANIFEST
from adapters.manifest import BaseIdentity, GoldenLogits, Manifest
from base.loader import LoadedBase, LoadOptions, load
from base.source import BaseSource
from service.engine.residency.verification import Expectation, expectation, fault

LOGITS = torch.tensor([1.0, -20.0, 3.0, 8.0])
PLAIN = Expectation(None, identity=False)
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tiny_base_folder: Path) -> LoadedBase:
    return load(BaseSource("tiny", tiny_base_folder), LoadOptions(device="cpu", quantization="none"))


def golden(**values: Any) -> GoldenLogits:
    known: dict[str, Any] = {"prompt_ids": (1, 2), "top_ids": (3, 2), "top_logits": (8.0, 3.0)}
    return GoldenLogits(**{**known, "quantization": "none", "dtype": "float32", **values})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(**golden)`: a folder with a manifest."""

    def make(**values: Any) -> Path:
        Manifest(base=BaseIdentity(name="tiny", digest="assumed"), golden=golden(**values)).write(tmp_path)
        return tmp_path

    return make


def test_golden_logits_of_the_same_kind_of_base_count(write: Write, base: LoadedBase) -> None:
    assert expectation(write(), False, base, 100) == Expectation(golden(), identity=False)
    assert expectation(write(), True, base, 100).identity


@pytest.mark.parametrize(
    "values",
    [
        {"quantization": "nf4"},
        {"dtype": "bfloat16"},
        {"prompt_ids": ()},
        {"top_ids": (), "top_logits": ()},
        {"top_logits": (8.0,)},
        {"prompt_ids": (1, 340)},
        {"top_ids": (3, 340)},
        {"prompt_ids": (1,) * 101},
    ],
    ids=lambda values: next(iter(values)),
)
def test_what_cannot_be_compared_does_not_count(values: dict[str, Any], write: Write, base: LoadedBase) -> None:
    assert expectation(write(**values), False, base, 100) == PLAIN


def test_a_folder_without_a_manifest_or_with_a_broken_one_has_no_golden_logits(
    base: LoadedBase, tmp_path: Path
) -> None:
    assert expectation(tmp_path, False, base, 100) == PLAIN
    assert expectation(tmp_path / "missing", False, base, 100) == PLAIN
    for text in ("", "{", json.dumps({"format": 2}), "[]"):
        (tmp_path / MANIFEST).write_text(text)
        assert expectation(tmp_path, False, base, 100) == PLAIN


def check(expected: Expectation, logits_V: Tensor, base: LoadedBase) -> str | None:
    return fault(expected, logits_V, LOGITS, base)


def test_logits_that_are_the_bases_are_a_fault(base: LoadedBase) -> None:
    assert "are the base's" in (check(PLAIN, LOGITS.clone(), base) or "")
    assert "are the base's" in (check(PLAIN, LOGITS + 1e-6, base) or "")
    assert check(PLAIN, LOGITS + torch.tensor([0, 0, 0, 1e-3]), base) is None


def test_an_adapter_of_zeros_may_answer_as_the_base(base: LoadedBase) -> None:
    assert check(Expectation(None, identity=True), LOGITS.clone(), base) is None


def test_logits_that_are_no_numbers_fail_only_the_requests_that_meet_them(base: LoadedBase) -> None:
    assert check(PLAIN, LOGITS / 0, base) is None


def test_golden_logits_must_be_met_within_the_tolerance(base: LoadedBase) -> None:
    expected = Expectation(golden(), identity=False)
    # Only the recorded ones are compared, by their own size.
    assert check(expected, LOGITS + torch.tensor([50, 50, 0.02, -0.02]), base) is None
    wrong = check(expected, LOGITS + torch.tensor([0, 0, 0, 0.05]), base)
    assert wrong is not None
    assert "off by 0.05, and 0.04 is the limit" in wrong


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_golden_logits_are_numbers(value: float, base: LoadedBase) -> None:
    assert check(Expectation(golden(), identity=False), LOGITS * value, base) is not None
