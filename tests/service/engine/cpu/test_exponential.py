import numpy as np
import torch
from numba import prange

from service.engine.cpu.arrays import Array, array
from service.engine.cpu.compiling import compiled
from service.engine.cpu.exponential import exponential


@compiled("void(float32[::1], float32[::1])")
def _all(x_N: Array, out_N: Array) -> None:
    for i in prange(len(x_N)):
        out_N[i] = exponential(x_N[i])


def exponentials(x_N: torch.Tensor) -> torch.Tensor:
    out_N = torch.empty_like(x_N)
    _all(array(x_N), array(out_N))
    return out_N


def test_it_is_exact_to_the_last_places_over_all_normal_numbers() -> None:
    x_N = torch.linspace(-87, 88, 100_001)
    torch.testing.assert_close(exponentials(x_N).double(), x_N.double().exp(), rtol=4e-7, atol=0)
    assert exponentials(torch.zeros(1)).item() == 1


def test_beyond_them_it_stays_at_the_bounds() -> None:
    low, high = exponentials(torch.tensor([-1e30, 1e30])).tolist()
    assert (low, high) == tuple(exponentials(torch.tensor([-87.0, 88.0])).tolist())
    assert 0 < low < 1e-37
    assert 1e38 < high < np.finfo(np.float32).max


def test_what_is_no_number_stays_one() -> None:
    assert exponentials(torch.tensor([torch.nan])).isnan().all()
