import pytest
import torch
from torch import Tensor

from training.layers.attention import Shape, attend


def heads(length: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, length, num, 8, generator=generator, dtype=torch.float64) for num in (4, 2, 2))
    return q, k, v


def reference(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    length = q.shape[1]
    distance = torch.arange(length)[:, None] - torch.arange(length)
    seen = (distance >= 0) & (distance < (window or length))
    k, v = k.repeat_interleave(2, 2), v.repeat_interleave(2, 2)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * 0.3
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", weights, v)


@pytest.mark.parametrize("window", [None, 3, 100])
def test_rows_end_to_end_attend_within_themselves(window: int | None) -> None:
    lengths = (5, 1, 9)
    rows = [heads(length, seed) for seed, length in enumerate(lengths)]
    shape = Shape(scale=0.3, window=window, dropout=0.0)
    q, k, v = (torch.cat(parts, dim=1) for parts in zip(*rows, strict=True))
    found = attend(q, k, v, shape, lengths).split(lengths, dim=1)
    for row, own in zip(rows, found, strict=True):
        torch.testing.assert_close(own, reference(*row, window))


def test_rows_side_by_side_do_not_see_the_padding_behind_them() -> None:
    shape = Shape(scale=0.3, window=None, dropout=0.0)
    short, long = heads(4, 0), heads(7, 1)
    padded = [
        torch.cat((torch.cat((x, torch.full_like(y[:, 4:], 1e4)), 1), y)) for x, y in zip(short, long, strict=True)
    ]
    found = attend(padded[0], padded[1], padded[2], shape)
    torch.testing.assert_close(found[:1, :4], reference(*short, None))
    torch.testing.assert_close(found[1:], reference(*long, None))
