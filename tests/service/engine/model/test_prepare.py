from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.loader import LoadedBase, LoadOptions, load
from base.shapes import module_shapes
from base.source import BaseSource
from service.engine.cache.store import CacheShape, CacheStore
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing
from service.engine.model.attention import PagedAttention
from service.engine.model.batch import Span
from service.engine.model.fused import FusedAttention, FusedMlp, FusedNorm
from service.engine.model.operations import TorchOperations
from service.engine.model.prepare import Head, Preparation, PrepareOptions
from service.engine.model.products import Int8Product, PackedProduct, TiledInt8Product
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig

FUSED = ("llama", "qwen2", "qwen3", "mistral", "gemma3")
PLAIN = ("phi", "phi3")
Prepare = Callable[..., tuple[Any, Preparation]]


@pytest.fixture(scope="module")
def prepare() -> Prepare:
    def make(
        folder: Path, *, fused: bool = True, packed: bool = False, quantization: Any = "none"
    ) -> tuple[Any, Preparation]:
        base = load(BaseSource("tiny", folder), LoadOptions(device="cpu", quantization=quantization))
        cache = CacheStore(CacheShape.of(base.model.config, 4), 1 << 16, base.dtype, base.device)
        options = PrepareOptions(fused=fused, packed=packed, operations=TorchOperations())
        return base.model, Preparation(base.model, PagedAttention(cache), Routing(), options)

    return make


def plain_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    return module_shapes(load(BaseSource("tiny", folder), LoadOptions(device="cpu")).model)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("family", [*FUSED, *PLAIN])
def test_every_adaptable_layer_is_in_exactly_one_group(
    family: str, fused: bool, family_folder: Callable[[str], Path], prepare: Prepare
) -> None:
    folder = family_folder(family)
    model, preparation = prepare(folder, fused=fused)
    found = [
        (name, (size, group.in_features))
        for group in preparation.groups
        for name, size in zip(group.names, group.out_features, strict=True)
    ]
    assert dict(found) == plain_shapes(folder)
    assert len(dict(found)) == len(found)
    layers = [module for module in model.modules() if isinstance(module, MixedLinear)]
    assert {id(layer) for layer in layers} == {id(layer) for layer in preparation.layers.values()}
    # Nothing that the forward pass meets bypasses the adapters.
    assert [name for name, module in model.named_modules() if type(module) is nn.Linear and name != "lm_head"] == []


@pytest.mark.parametrize("family", FUSED)
def test_layers_that_share_an_input_are_joined(
    family: str, family_folder: Callable[[str], Path], prepare: Prepare
) -> None:
    model, preparation = prepare(family_folder(family))
    first = [
        tuple(name.rpartition(".")[2] for name in group.names) for group in preparation.groups if ".0." in group.name
    ]
    assert sorted(first) == [("down_proj",), ("gate_proj", "up_proj"), ("o_proj",), ("q_proj", "k_proj", "v_proj")]
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(FusedAttention) == kinds.count(FusedMlp) == model.config.num_hidden_layers
    assert FusedNorm in kinds
    assert not [kind for kind in kinds if kind.__name__.endswith("RMSNorm")]


@pytest.mark.parametrize("family", PLAIN)
def test_modules_of_other_architectures_stay(
    family: str, family_folder: Callable[[str], Path], prepare: Prepare
) -> None:
    model, preparation = prepare(family_folder(family))
    assert all(len(group.names) == 1 for group in preparation.groups)
    assert not [module for module in model.modules() if isinstance(module, FusedAttention | FusedMlp | FusedNorm)]


def test_the_reference_path_joins_nothing(tiny_base_folder: Path, prepare: Prepare) -> None:
    _, preparation = prepare(tiny_base_folder, fused=False)
    assert all(len(group.names) == 1 for group in preparation.groups)


def test_the_packed_layout_is_taken_for_layers_and_head(tiny_base_folder: Path, prepare: Prepare) -> None:
    model, preparation = prepare(tiny_base_folder, packed=True)
    assert all(isinstance(layer.product, PackedProduct) for layer in preparation.layers.values())
    assert isinstance(model.lm_head, Head)
    assert isinstance(model.lm_head.product, PackedProduct)


def test_an_int8_base_keeps_its_weights_and_a_plain_head(tiny_base_folder: Path, prepare: Prepare) -> None:
    model, preparation = prepare(tiny_base_folder, packed=True, quantization="int8")
    assert all(isinstance(layer.product, Int8Product | TiledInt8Product) for layer in preparation.layers.values())
    assert isinstance(model.lm_head.product, PackedProduct)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_the_runner_rounds_the_head_of_an_int8_base_and_no_other(quantization: Any, tiny_base_folder: Path) -> None:
    def load_tiny() -> LoadedBase:
        return load(BaseSource("tiny", tiny_base_folder), LoadOptions(device="cpu", quantization=quantization))

    token_ids = list(range(3, 20))
    expected_TV = load_tiny().model(torch.tensor([token_ids])).logits[0].detach()
    base = load_tiny()
    runner = ModelRunner(base, EngineConfig(cache_bytes=1 << 20))
    head: Any = base.model.lm_head
    assert isinstance(head.product, Int8Product | TiledInt8Product) == (quantization == "int8")
    logits_TV = runner.run([Work(Span(token_ids, 0, range(8)), (), range(len(token_ids)))])
    off = (logits_TV - expected_TV).abs().max() / expected_TV.abs().max()
    assert off < (0.05 if quantization == "int8" else 1e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_the_head_gives_the_logits_of_any_number_of_rows(
    packed: bool, tiny_base_folder: Path, prepare: Prepare
) -> None:
    model, _ = prepare(tiny_base_folder, packed=packed)
    weight_VC = model.get_input_embeddings().weight
    for shape in ((1, 3, 64), (2, 64), (1, 0, 64)):
        x = torch.randn(shape)
        found = model.lm_head(x)
        assert found.shape == (*shape[:-1], len(weight_VC))
        torch.testing.assert_close(found, x @ weight_VC.t(), rtol=1e-4, atol=1e-4)
