from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from base.dense import dense_weight
from base.errors import InvalidBaseError, UnsupportedError
from base.int8 import Int8Linear
from base.loader import LoadedBase, LoadOptions, Quantization, load, load_tokenizer, resolve_device, resolve_dtype
from base.source import BaseSource

LAYER = "model.layers.0.self_attn.q_proj"


def loaded(folder: Path, quantization: Quantization = "none") -> LoadedBase:
    return load(BaseSource("tiny", folder), LoadOptions(device="cpu", quantization=quantization))


def input_gradient(base: LoadedBase) -> torch.Tensor:
    """The loss's gradient at the embeddings: it has come through every linear layer."""
    ids = torch.arange(4, 20)[None]
    embedded = base.model.get_input_embeddings()(ids).detach().requires_grad_()
    total = base.model(inputs_embeds=embedded).logits.logsumexp(-1).sum()
    gradient: torch.Tensor = torch.autograd.grad(total, embedded)[0]
    return gradient


def test_the_base_is_frozen_float32_in_evaluation_mode(tiny_base_folder: Path) -> None:
    base = loaded(tiny_base_folder)
    assert base.dtype == torch.float32
    assert all(weight.dtype == torch.float32 and not weight.requires_grad for weight in base.model.parameters())
    assert not base.model.training
    assert base.context_tokens == 256
    assert base.digest.startswith("sha256:")


def test_the_logits_are_those_of_transformers(tiny_base_folder: Path) -> None:
    expected = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.float32)
    ids = torch.arange(30)[None]
    torch.testing.assert_close(loaded(tiny_base_folder).model(ids).logits, expected(ids).logits, rtol=0, atol=0)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_quantised_layers_leave_the_output_head_and_stay_close(
    tiny_base_folder: Path, quantization: Quantization
) -> None:
    exact, base = loaded(tiny_base_folder), loaded(tiny_base_folder, quantization)
    assert type(base.model.get_output_embeddings()) is torch.nn.Linear
    assert type(base.model.get_submodule(LAYER)) is not torch.nn.Linear
    dense, expected = dense_weight(base.model.get_submodule(LAYER)), dense_weight(exact.model.get_submodule(LAYER))
    error = ((dense - expected).norm() / expected.norm()).item()
    assert dense.shape == expected.shape
    assert 0 < error < {"int8": 0.01, "nf4": 0.12}[quantization]
    assert base.num_parameters == exact.num_parameters


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_gradients_are_the_same_after_an_evaluation(tiny_base_folder: Path, quantization: Quantization) -> None:
    base = loaded(tiny_base_folder, quantization)
    base.model.train()
    before = input_gradient(base)
    weight = dense_weight(base.model.get_submodule(LAYER))
    base.model.eval()
    with torch.inference_mode():
        base.model(torch.arange(30)[None])
    base.model.train()
    assert before.norm() > 0
    torch.testing.assert_close(input_gradient(base), before, rtol=0, atol=0)
    assert torch.equal(dense_weight(base.model.get_submodule(LAYER)), weight)


def test_every_kind_of_layer_multiplies_by_its_dense_weight(tiny_base_folder: Path) -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for quantization, tolerance in (("none", 1e-5), ("int8", 0.02), ("nf4", 1e-4)):
        layer = loaded(tiny_base_folder, quantization).model.get_submodule(LAYER)  # type: ignore[arg-type]
        expected = x @ dense_weight(layer).T
        assert ((layer(x) - expected).norm() / expected.norm()).item() < tolerance


def test_a_layer_without_a_known_weight_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="LayerNorm"):
        dense_weight(torch.nn.LayerNorm(4))
    with pytest.raises(UnsupportedError, match="Identity"):
        dense_weight(torch.nn.Identity())


def test_dense_weights_are_detached_and_float32() -> None:
    weight = dense_weight(torch.nn.Linear(4, 4, dtype=torch.bfloat16))
    assert (weight.dtype, weight.requires_grad) == (torch.float32, False)
    assert dense_weight(Int8Linear(torch.nn.Linear(4, 4))).dtype == torch.float32


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        resolve_device("cuda")


def test_the_automatic_dtype_fits_the_device() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert resolve_dtype("auto", cpu) == torch.float32
    assert resolve_dtype("auto", cuda) == torch.bfloat16
    assert resolve_dtype("float16", cuda) == torch.float16
    with pytest.raises(UnsupportedError, match="float16 on cpu"):
        resolve_dtype("float16", cpu)


def test_a_weight_that_is_missing_is_refused_rather_than_drawn(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[f"{LAYER}.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidBaseError, match=LAYER):
        loaded(folder)


def test_weights_of_another_shape_are_refused(folder: Path, change_json: Callable[..., None]) -> None:
    change_json(folder / "config.json", intermediate_size=48)
    with pytest.raises(InvalidBaseError, match="cannot load"):
        loaded(folder)


def test_an_unknown_architecture_is_refused(folder: Path, change_json: Callable[..., None]) -> None:
    change_json(folder / "config.json", model_type="no-such-model", architectures=["NoSuchModel"])
    with pytest.raises(InvalidBaseError, match="no-such-model"):
        loaded(folder)


def test_the_tokenizer_loads_without_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert len(load_tokenizer(BaseSource("tiny", folder))) == 340
