from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from base.int8 import replace_linears
from base.shapes import embedding_rows, head_names, linear_shapes, module_shapes, num_parameters


@pytest.fixture
def model(tiny_base_folder: Path) -> torch.nn.Module:
    found: torch.nn.Module = AutoModelForCausalLM.from_pretrained(tiny_base_folder)
    return found


def test_every_linear_layer_but_the_head_is_listed(tiny_base_folder: Path, model: torch.nn.Module) -> None:
    shapes = linear_shapes(tiny_base_folder)
    assert len(shapes) == 2 * 7
    assert shapes["model.layers.1.self_attn.k_proj"] == (32, 64)
    assert shapes["model.layers.0.mlp.down_proj"] == (64, 96)
    assert module_shapes(model) == shapes
    assert head_names(model) == {"lm_head"}


def test_quantised_layers_have_the_same_shapes(tiny_base_folder: Path, model: torch.nn.Module) -> None:
    before = num_parameters(model)
    replace_linears(model, keep=head_names(model))
    assert module_shapes(model) == linear_shapes(tiny_base_folder)
    assert num_parameters(model) == before


def test_parameters_are_counted_once_with_tied_embeddings_and_biases() -> None:
    config = Qwen2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=50,
        tie_word_embeddings=True,
    )
    model = Qwen2ForCausalLM(config)
    expected = sum(weight.numel() for weight in model.parameters())
    assert num_parameters(model) == expected
    replace_linears(model, keep=head_names(model))
    assert num_parameters(model) == expected


def test_token_ids_that_can_be_embedded(model: torch.nn.Module) -> None:
    assert embedding_rows(model) == 340
