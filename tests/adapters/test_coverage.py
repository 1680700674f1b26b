from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.base_facts import BaseFacts
from adapters.config import LoraConfig
from adapters.coverage import check_coverage
from adapters.errors import InvalidAdapterError
from adapters.header import TensorInfo, read_header

SHAPES = {"model.layers.0.q_proj": (6, 4), "model.layers.0.v_proj": (2, 4)}
PREFIX = "base_model.model.model.layers.0."
CONFIG = LoraConfig(rank=3, alpha=6, target_modules=("q_proj",))


def header(**shapes: tuple[int, ...]) -> dict[str, TensorInfo]:
    full = {"q_proj.lora_A.weight": (3, 4), "q_proj.lora_B.weight": (6, 3), **shapes}
    return {PREFIX + name: TensorInfo(PREFIX + name, "F32", shape) for name, shape in full.items() if shape}


def test_exactly_the_expected_tensors_pass() -> None:
    assert check_coverage(CONFIG, header(), SHAPES) == ("model.layers.0.q_proj",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q_proj.lora_B.weight": ()}, r"q_proj\.lora_B\.weight' of shape \(6, 3\) is missing"),
        ({"q_proj.lora_A.weight": (2, 4)}, r"has shape \(2, 4\), .* rank 3 of the configuration make it \(3, 4\)"),
        ({"q_proj.lora_A.weight": (3, 5)}, r"has shape \(3, 5\)"),
        ({"q_proj.lora_A.weight": (12,)}, r"has shape \(12,\)"),
        ({"v_proj.lora_A.weight": (3, 4)}, "does not target this module"),
        ({"x_proj.lora_A.weight": (3, 4)}, "the base has no linear layer 'model.layers.0.x_proj'"),
        ({"q_proj.lora_magnitude_vector": (6,)}, "a magnitude needs use_dora"),
        ({"q_proj.lora_B.bias": (6,)}, "only base_model.model.<module>"),
        ({"q_proj.lora_embedding_A": (3, 4)}, "only base_model.model.<module>"),
        ({"q_proj.weight": (6, 4)}, "only base_model.model.<module>"),
    ],
)
def test_a_tensor_too_few_too_many_or_misshaped_is_refused(changes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(InvalidAdapterError, match=message):
        check_coverage(CONFIG, header(**changes), SHAPES)


def test_dora_without_its_magnitude_is_refused() -> None:
    config = LoraConfig(rank=3, alpha=6, target_modules=("q_proj",), dora=True)

    with pytest.raises(InvalidAdapterError, match=r"lora_magnitude_vector' of shape \(6,\) is missing"):
        check_coverage(config, header(), SHAPES)
    check_coverage(config, header(**{"q_proj.lora_magnitude_vector": (6,)}), SHAPES)


def test_a_module_that_is_targeted_but_has_no_tensors_is_refused() -> None:
    with pytest.raises(InvalidAdapterError, match=r"v_proj\.lora_A\.weight' .* is missing"):
        check_coverage(LoraConfig(rank=3, alpha=6, target_modules="all-linear"), header(), SHAPES)


def test_targets_that_match_nothing_are_refused() -> None:
    with pytest.raises(InvalidAdapterError, match="match no linear layer"):
        check_coverage(LoraConfig(rank=3, alpha=6, target_modules=("c_attn",)), header(), SHAPES)


def test_the_rank_of_each_module_counts() -> None:
    config = LoraConfig(rank=8, alpha=6, target_modules=("q_proj",), rank_pattern={"q_proj": 3})

    check_coverage(config, header(), SHAPES)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": "all-linear"},
        {"target_modules": "all-linear", "use_dora": True},
        {"target_modules": ["q_proj", "up_proj"], "use_rslora": True, "rank_pattern": {"layers.1.*q_proj": 2}},
        {"target_modules": r".*\.[qv]_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
    ],
)
def test_what_peft_saves_is_covered(
    save_with_peft: Callable[..., Path], base: BaseFacts, settings: dict[str, Any]
) -> None:
    folder = save_with_peft(**settings)

    modules = check_coverage(
        LoraConfig.read(folder), read_header(folder / "adapter_model.safetensors"), base.linear_shapes
    )

    assert modules
