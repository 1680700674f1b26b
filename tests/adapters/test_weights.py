import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.weights import LoraWeights, finite_tensors, is_identity, load_weights, scan_identity

A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj"], "use_rslora": True, "rank_pattern": {"layers.1.*q_proj": 2}},
        {"target_modules": ["q_proj", "up_proj"], "alpha_pattern": {"up_proj": 3}},
    ],
)
def test_each_modules_update_is_the_one_peft_computes(
    save_with_peft: Callable[..., Path], model: Any, settings: dict[str, Any]
) -> None:
    folder = save_with_peft(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import PeftModel

        reference: Any = PeftModel.from_pretrained(deepcopy(model), str(folder))
    config = LoraConfig.read(folder)

    loaded = load_weights(folder, config)

    layers = {
        name: module
        for name, module in reference.base_model.model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert loaded.keys() == layers.keys()
    for name, part in loaded.items():
        update = config.scaling(name) * part.lora_b_OR @ part.lora_a_RI
        torch.testing.assert_close(update, layers[name].get_delta_weight("default"))


def test_magnitudes_come_with_dora(save_with_peft: Callable[..., Path]) -> None:
    folder = save_with_peft(target_modules=["q_proj"], use_dora=True)

    loaded = load_weights(folder, LoraConfig.read(folder))

    assert [part.magnitude_O.shape for part in loaded.values() if part.magnitude_O is not None] == [(32,), (32,)]
    assert not is_identity(loaded)
    assert not scan_identity(folder)


def test_half_precision_is_loaded_as_float32(folder: Path, change_tensors: Callable[..., None]) -> None:
    change_tensors(folder, **{A: torch.full((4, 32), 0.5, dtype=torch.bfloat16)})

    loaded = load_weights(folder, LoraConfig.read(folder))["model.layers.0.self_attn.q_proj"]

    assert loaded.lora_a_RI.dtype is torch.float32
    assert bool((loaded.lora_a_RI == 0.5).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_refused_by_tensor(
    folder: Path, change_tensors: Callable[..., None], value: float
) -> None:
    spoiled = torch.zeros(32, 4)
    spoiled[3, 2] = value
    change_tensors(folder, **{B: spoiled})

    with pytest.raises(
        InvalidAdapterError, match=r"layers\.0\.self_attn\.q_proj\.lora_B\.weight' holds NaN or infinity"
    ):
        load_weights(folder, LoraConfig.read(folder))


def test_values_whose_sum_is_no_number_are_values(folder: Path, change_tensors: Callable[..., None]) -> None:
    change_tensors(folder, **{B: torch.full((32, 4), 3e38)})

    loaded = load_weights(folder, LoraConfig.read(folder))["model.layers.0.self_attn.q_proj"]

    assert bool((loaded.lora_b_OR == 3e38).all())


def test_a_missing_partner_is_refused(folder: Path, change_tensors: Callable[..., None]) -> None:
    change_tensors(folder, **{B: None})

    with pytest.raises(InvalidAdapterError, match=r"lora_B\.weight' is missing"):
        load_weights(folder, LoraConfig.read(folder))


def test_a_broken_file_is_refused(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"nothing")

    with pytest.raises(InvalidAdapterError, match="cannot be read"):
        dict(finite_tensors(folder))


@pytest.mark.parametrize(
    ("a", "b", "identity"), [(1.0, 0.0, True), (0.0, 1.0, True), (0.0, 0.0, True), (1.0, 1.0, False)]
)
def test_an_update_is_zero_when_either_factor_is(a: float, b: float, *, identity: bool) -> None:
    other = LoraWeights(torch.ones(2, 3), torch.zeros(4, 2))
    part = LoraWeights(torch.full((2, 3), a), torch.full((4, 2), b))

    assert is_identity({"one": part, "two": other}) is identity


def test_scanning_a_file_agrees_with_its_weights(folder: Path, change_tensors: Callable[..., None]) -> None:
    config = LoraConfig.read(folder)
    assert scan_identity(folder) is is_identity(load_weights(folder, config)) is False

    zeros = {name: torch.zeros_like(value) for name, value in finite_tensors(folder) if name.endswith("lora_B.weight")}
    change_tensors(folder, **zeros)

    assert scan_identity(folder) is is_identity(load_weights(folder, config)) is True
