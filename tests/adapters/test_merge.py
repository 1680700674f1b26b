import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.merge import MergedWeights
from adapters.weights import load_weights
from base.stored import StoredWeights

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6}, "alpha_pattern": {"v_proj": 3}},
    "one module": {"targets": ("layers.1.self_attn.o_proj",)},
}
TOUCHED = "model.layers.0.self_attn.q_proj.weight"


def merged(adapter: Path, base: Path) -> MergedWeights:
    config = LoraConfig.read(adapter)
    return MergedWeights(StoredWeights(base), load_weights(adapter, config), config)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_merges_as_peft_merges_it(
    make_adapter: Callable[..., Path],
    peft_model: Callable[..., Any],
    tiny_base_folder: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    adapter = make_adapter(tmp_path / "adapter", seed=3, **KINDS[kind])
    ours = merged(adapter, tiny_base_folder)
    oracle = peft_model(adapter).merge_and_unload().state_dict()
    base = load_file(tiny_base_folder / "model.safetensors")
    changed = {name for name in ours.stored.tensors if ours.changes(name)}
    assert changed
    for name in ours.stored.tensors:
        if name in changed:
            torch.testing.assert_close(ours.read(name), oracle[name], rtol=1e-6, atol=1e-6)
            assert not torch.allclose(ours.read(name), base[name], atol=1e-3)
        else:
            assert torch.equal(ours.read(name), base[name])


def test_the_sum_is_formed_in_float32_from_what_is_stored(
    make_adapter: Callable[..., Path], tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))
    stored = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(stored, folder / "model.safetensors")
    adapter = make_adapter(tmp_path / "adapter", seed=3)
    config = LoraConfig.read(adapter)
    part = load_weights(adapter, config)[TOUCHED.removesuffix(".weight")]
    expected = stored[TOUCHED].double() + 2.0 * part.lora_b_OR.double() @ part.lora_a_RI.double()
    found = merged(adapter, folder).read(TOUCHED)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("spoil", "message"), [("quantised", "stores .* quantised"), ("renamed", "hold no tensor")])
def test_a_weight_that_is_not_there_in_plain_numbers_is_refused(
    make_adapter: Callable[..., Path], tiny_base_folder: Path, tmp_path: Path, spoil: str, message: str
) -> None:
    folder = Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))
    tensors = load_file(folder / "model.safetensors")
    weight = tensors.pop(TOUCHED)
    tensors |= {TOUCHED: weight.to(torch.int8)} if spoil == "quantised" else {"other.weight": weight}
    save_file(tensors, folder / "model.safetensors")
    adapter = make_adapter(tmp_path / "adapter", seed=3)
    with pytest.raises(InvalidAdapterError, match=message):
        merged(adapter, folder)
