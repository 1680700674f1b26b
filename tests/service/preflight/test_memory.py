from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from base.loader import LoadOptions, load
from base.rendering import Example
from base.source import BaseSource
from service.preflight.memory import (
    MemoryRequest,
    Quantization,
    layer_elements,
    peak_memory,
    saved_bytes,
    weights_bytes,
)
from service.preflight.shape import ModelShape, adapter_parameters, model_shape
from training.config import TrainingConfig
from training.layers.network import Network
from training.objectives.supervised import Supervised
from training.rows.batches import make_batch

REQUEST = MemoryRequest(quantization="none", dtype_bytes=4, rank=8, pass_tokens=256, pass_labelled=64)


def measured_saved_bytes(folder: Path, request: MemoryRequest) -> int:
    """What autograd keeps of one pass, each storage once, the base's own weights left out."""
    base = load(BaseSource("base", folder), LoadOptions(device="cpu"))
    network = Network(base.model, TrainingConfig(rank=request.rank))
    held = {tensor.untyped_storage().data_ptr() for tensor in (*base.model.parameters(), *base.model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in held:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    row = request.pass_tokens // 4
    labelled = tuple(at >= row - request.pass_labelled // 4 for at in range(row))
    examples = [Example(tuple(range(5, 5 + row)), labelled)] * 4
    try:
        base.model.train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            Supervised().total(network, make_batch(examples, range(4), "packed", base.device))
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    finally:
        network.close()


def test_saved_activations_are_those_of_a_tiny_base(tiny_base_folder: Path) -> None:
    expected = saved_bytes(model_shape(tiny_base_folder), REQUEST)
    assert expected == pytest.approx(measured_saved_bytes(tiny_base_folder, REQUEST), rel=0.15)


@pytest.mark.slow
def test_saved_activations_are_those_of_the_embedded_base(smollm2: Path) -> None:
    expected = saved_bytes(model_shape(smollm2), REQUEST)
    assert expected == pytest.approx(measured_saved_bytes(smollm2, REQUEST), rel=0.15)


@pytest.mark.parametrize("family", ["gemma3", "qwen3", "qwen2", "mistral", "phi", "phi3"])
def test_saved_activations_of_other_families_are_within_a_quarter(
    family_folder: Callable[[str], Path], family: str
) -> None:
    folder = family_folder(family)
    request = replace(REQUEST, mask_elements=REQUEST.pass_tokens**2)
    measured = measured_saved_bytes(folder, request)
    assert saved_bytes(model_shape(folder), request) == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_weights_are_counted_as_they_are_held(tiny_base_folder: Path, quantization: Quantization) -> None:
    base = load(BaseSource("tiny", tiny_base_folder), LoadOptions(device="cpu", quantization=quantization))
    tensors = {tensor.data_ptr(): tensor for tensor in (*base.model.parameters(), *base.model.buffers())}
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    # bitsandbytes keeps its scales outside parameters and buffers: up to 3% of nf4's bytes.
    assert weights_bytes(model_shape(tiny_base_folder), quantization, 4) == pytest.approx(held, rel=0.06)


def test_the_shape_of_an_adapter_is_that_of_pefts(tiny_shape: ModelShape) -> None:
    # Two layers of q (64, 64), k and v (32, 64), o (64, 64), gate and up (96, 64), down (64, 96), each r (in + out).
    assert adapter_parameters(tiny_shape, 4, "all-linear") == 2 * 4 * (128 + 96 + 96 + 128 + 160 + 160 + 160)
    assert adapter_parameters(tiny_shape, 4, ("q_proj",)) == 2 * 4 * 128
    assert adapter_parameters(tiny_shape, 4, ("q_proj",), dora=True) == 2 * (4 * 128 + 64)


def test_an_eight_billion_base_needs_what_is_known_of_it(eight_billion: ModelShape) -> None:
    request = MemoryRequest(quantization="nf4", dtype_bytes=2, rank=16, pass_tokens=4096, pass_labelled=2048)
    # Published: 5.3 to 5.7 GiB of weights in nf4 with a bfloat16 head and embedding; 15 GiB in bfloat16.
    assert 5.2 < weights_bytes(eight_billion, "nf4", 2) / 2**30 < 5.8
    assert weights_bytes(eight_billion, "none", 2) / 2**30 == pytest.approx(14.96, abs=0.01)
    assert adapter_parameters(eight_billion, 16, "all-linear") == 41_943_040
    whole, again = peak_memory(eight_billion, request), peak_memory(eight_billion, replace(request, checkpointing=True))
    assert again.activations_bytes * 10 < whole.activations_bytes
    assert again.total_bytes < 10 * 2**30 < whole.total_bytes


def test_every_token_and_rank_costs(eight_billion: ModelShape) -> None:
    base = peak_memory(eight_billion, REQUEST).total_bytes
    for change in (
        {"pass_tokens": 512},
        {"rank": 64},
        {"dtype_bytes": 8},
        {"resident_bytes": 1},
        {"pass_labelled": 65},
    ):
        assert peak_memory(eight_billion, replace(REQUEST, **change)).total_bytes > base  # type: ignore[arg-type]
    assert peak_memory(eight_billion, replace(REQUEST, eight_bit_moments=True)).total_bytes < base


def test_fused_layers_keep_less(eight_billion: ModelShape) -> None:
    other = replace(eight_billion, model_type="phi")
    assert layer_elements(eight_billion, REQUEST) < layer_elements(other, REQUEST)
