import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base.loader import LoadOptions, load
from base.source import BaseSource
from service.engine.cpu import int8_tiles
from service.engine.model.calibration import Kernels, _largest_linear, _thread_counts, calibrate


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def model(folder: Path, **options: Any) -> Any:
    return load(BaseSource("tiny", folder), LoadOptions(device="cpu", **options)).model


@pytest.mark.parametrize(
    ("options", "num_tried"),
    [
        ({}, 4),
        ({"dtype": "bfloat16"}, 2),
        # Tiles are tried if the processor multiplies int8 numbers; else the head, which int8 leaves plain, is.
        ({"quantization": "int8"}, 4),
        ({"quantization": "int8", "dtype": "bfloat16"}, 4 if int8_tiles.available() else 2),
    ],
    ids=str,
)
def test_what_is_tried_fits_the_weights_and_is_logged(
    options: dict[str, Any], num_tried: int, tiny_base_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        chosen = calibrate(model(tiny_base_folder, **options))
    assert chosen.num_threads in (1, 2)
    assert not (chosen.packed and options == {"dtype": "bfloat16"})
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("calibration")]
    assert len(lines) == num_tried
    last = [line for line in lines if line.endswith("(chosen)")][-1]
    assert last.startswith(f"kernels: {chosen.num_threads} threads, {'packed' if chosen.packed else 'plain'} weights:")


def test_threads_are_left_as_they_were(tiny_base_folder: Path) -> None:
    calibrate(model(tiny_base_folder))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("quantization", ["nf4"])
def test_where_no_layer_can_be_timed_nothing_changes(quantization: str, tiny_base_folder: Path) -> None:
    assert calibrate(model(tiny_base_folder, quantization=quantization)) == Kernels(2, packed=False)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_the_head_is_not_the_layer_that_is_timed(quantization: str, tiny_base_folder: Path) -> None:
    loaded = model(tiny_base_folder, quantization=quantization)
    layers = [module for name, module in loaded.named_modules() if name.endswith(("gate_proj", "up_proj", "down_proj"))]
    assert _largest_linear(loaded, loaded.get_output_embeddings()) in layers


@pytest.mark.parametrize(("most", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_thread_counts_are_powers_of_two_and_the_most(most: int, counts: list[int]) -> None:
    assert _thread_counts(most) == counts
