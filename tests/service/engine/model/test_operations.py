from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from service.engine.model.acceleration import find_operations
from service.engine.model.compiled_operations import CompiledOperations
from service.engine.model.operations import Operations, TorchOperations

KINDS = {"torch": TorchOperations(), "compiled": CompiledOperations()}
ROWS = (0, 1, 5, 64, 65, 200)


@pytest.fixture(params=KINDS, name="operations")
def _operations(request: pytest.FixtureRequest) -> Operations:
    return KINDS[request.param]


def test_the_cpu_computes_float32_by_compiled_functions() -> None:
    assert isinstance(find_operations(torch.device("cpu"), torch.float32), CompiledOperations)
    assert type(find_operations(torch.device("cpu"), torch.bfloat16)) is TorchOperations


@pytest.mark.parametrize("num_rows", ROWS)
def test_norms_are_those_of_the_paper(operations: Operations, num_rows: int) -> None:
    x, weight_C = torch.randn(1, num_rows, 37) * 50, torch.randn(37)
    expected = x / (x.square().mean(dim=-1, keepdim=True) + 1e-3).sqrt() * weight_C
    torch.testing.assert_close(operations.normalize(x, weight_C, 1e-3), expected)


def test_a_part_of_each_row_is_normalised(operations: Operations) -> None:
    heads_TXD, weight_D = torch.randn(3, 6, 8), torch.randn(8)
    found = operations.normalize(heads_TXD[:, :4], weight_D, 1e-6)
    torch.testing.assert_close(found, functional.rms_norm(heads_TXD[:, :4], (8,), weight_D, 1e-6))


@pytest.mark.parametrize("num_rows", ROWS[1:])
def test_rotation_is_that_of_transformers(operations: Operations, num_rows: int) -> None:
    qkv_TXD = torch.randn(num_rows, 8, 10)
    angles_TD = torch.rand(num_rows, 5).repeat(1, 2) * 6
    cos_TD, sin_TD = angles_TD.cos(), angles_TD.sin()
    q_THD, k_TKD, v_TKD = qkv_TXD.clone().split((4, 2, 2), dim=1)
    expected = apply_rotary_pos_emb(
        q_THD.transpose(0, 1)[None], k_TKD.transpose(0, 1)[None], cos_TD[None], sin_TD[None]
    )
    operations.rotate(qkv_TXD.view(num_rows, 80), 6, cos_TD, sin_TD)
    for found, wanted in zip(qkv_TXD.split((4, 2, 2), dim=1), expected, strict=False):
        torch.testing.assert_close(found, wanted[0].transpose(0, 1))
    assert torch.equal(qkv_TXD[:, 6:], v_TKD)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.ReLU()], ids=str)
@pytest.mark.parametrize("num_rows", ROWS)
def test_gates_weigh_their_half(operations: Operations, activation: Any, num_rows: int) -> None:
    gate_up = torch.randn(1, num_rows, 62) * 20
    gate, up = gate_up.chunk(2, dim=-1)
    torch.testing.assert_close(operations.gate(activation, gate_up.clone()), activation(gate) * up)


@pytest.mark.parametrize("name", ["SiLUActivation", "GELUTanh", "PytorchGELUTanh"])
def test_transformers_own_activations_are_known(name: str) -> None:
    from transformers import activations

    activation = getattr(activations, name, None)
    if activation is None:
        pytest.skip(f"transformers has no {name} any more")
    gate_up = torch.randn(7, 40) * 3
    gate, up = gate_up.chunk(2, dim=-1)
    torch.testing.assert_close(KINDS["compiled"].gate(activation(), gate_up), activation()(gate) * up)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_not_hidden(operations: Operations, number: float) -> None:
    def spoilt(width: int) -> Tensor:
        x = torch.randn(3, width)
        x[1, 2] = number
        return x

    normed = operations.normalize(spoilt(12), torch.ones(12), 1e-6)
    gated = operations.gate(nn.SiLU(), spoilt(12))
    assert normed.isfinite().all(dim=1).tolist() == [True, False, True]
    # As silu(-inf) is the limit 0 times infinity in floats.
    assert gated.isfinite().all(dim=1).tolist() == [True, False, True]
