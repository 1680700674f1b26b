import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from base.int8 import Int8Linear, replace_linears


@pytest.fixture(scope="module")
def linear() -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(96, 80)


@pytest.fixture(scope="module")
def layer(linear: nn.Linear) -> Int8Linear:
    return Int8Linear(linear)


@settings(max_examples=30)
@given(num_rows=st.integers(1, 40), at=st.integers(0, 39), loudness=st.sampled_from([1e-3, 1.0, 1e4]))
def test_a_row_gives_the_same_bits_in_any_batch(layer: Int8Linear, num_rows: int, at: int, loudness: float) -> None:
    generator = torch.Generator().manual_seed(num_rows)
    row = torch.randn(1, 96, generator=generator)
    batch = torch.randn(num_rows, 96, generator=generator) * loudness
    batch[at % num_rows] = row[0]
    assert torch.equal(layer(batch)[at % num_rows], layer(row)[0])


def test_the_error_is_small_beside_float32(layer: Int8Linear, linear: nn.Linear) -> None:
    x = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    expected = linear(x)
    assert ((layer(x) - expected).norm() / expected.norm()).item() < 0.02


def test_the_gradient_is_that_of_the_dequantised_weight(layer: Int8Linear) -> None:
    x = torch.randn(5, 7, 96, requires_grad=True)
    upstream = torch.randn(5, 7, 80)
    (layer(x) * upstream).sum().backward()
    torch.testing.assert_close(x.grad, upstream @ layer.weight)


def test_the_dtype_of_the_input_is_the_dtype_of_the_output(layer: Int8Linear) -> None:
    assert layer(torch.randn(2, 96, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_zeros_and_unbiased_layers_work() -> None:
    layer = Int8Linear(nn.Linear(16, 8, bias=False))
    assert torch.equal(layer(torch.zeros(3, 16)), torch.zeros(3, 8))


def test_a_row_that_is_not_a_number_stays_so(layer: Int8Linear) -> None:
    x = torch.randn(2, 96)
    x[0, 0] = torch.nan
    out = layer(x)
    assert out[0].isnan().all()
    assert out[1].isfinite().all()


def test_kept_layers_are_not_replaced() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    replace_linears(model, keep=frozenset({"0"}))
    assert type(model[0]) is nn.Linear
    assert isinstance(model.get_submodule("1.0"), Int8Linear)
