import pytest
import torch
from numba import prange
from torch import Tensor

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.float_tiles import add_product


@compiled("void(float32[:, :], float32[:, :], float32[:, :])")
def _add(x_MK: Array, weight_KN: Array, out_MN: Array) -> None:
    for _ in prange(1):
        add_product(x_MK, weight_KN, out_MN)


def added(x_MK: Tensor, weight_KN: Tensor, out_MN: Tensor) -> Tensor:
    _add(array(x_MK), array(weight_KN), array(out_MN))
    return out_MN


@pytest.mark.parametrize("num_out", [1, 15, 16, 17, 47, 48, 49, 64, 100, 192])
@pytest.mark.parametrize("num_in", [0, 1, 4, 16, 70])
def test_the_product_is_added(num_in: int, num_out: int) -> None:
    for num_rows in (0, 1, 2, 7, 8, 9, 30):
        x_MK, weight_KN, out_MN = (torch.randn(size) for size in ((num_rows, num_in), (num_in, num_out), (30, num_out)))
        expected = out_MN[:num_rows].double() + x_MK.double() @ weight_KN.double()
        torch.testing.assert_close(added(x_MK, weight_KN, out_MN[:num_rows]).double(), expected, rtol=1e-5, atol=1e-5)


def test_nothing_beside_it_is_touched() -> None:
    whole_MN = torch.zeros(12, 90)
    added(torch.randn(9, 60)[:, 7:20], torch.randn(13, 200)[:, 5:60], whole_MN[2:11, 20:75])
    whole_MN[2:11, 20:75] = 0
    assert not whole_MN.any()


def test_a_row_is_the_same_to_the_bit_whatever_stands_beside_it() -> None:
    x_MK, weight_KN = torch.randn(19, 33), torch.randn(33, 77)
    together_MN = added(x_MK, weight_KN, torch.zeros(19, 77))
    for row in range(19):
        assert torch.equal(added(x_MK[row : row + 1], weight_KN, torch.zeros(1, 77))[0], together_MN[row])
