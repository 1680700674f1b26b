import pytest
import torch
from torch import nn
from torch.nn import functional

from training.layers.frozen import Frozen
from training.layers.products import plain
from training.objectives import frozen_head
from training.objectives.frozen_head import head_nll


@pytest.mark.parametrize("chunk", [1, 16 * 4 * 11, 1 << 20])
def test_the_sum_and_its_gradient_are_cross_entropys_whatever_the_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_head, "_CHUNK_BYTES", chunk)
    torch.manual_seed(1)
    head = nn.Linear(6, 11, bias=False, dtype=torch.float64).requires_grad_(False)
    hidden = torch.randn(37, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 11, (37,))
    found = head_nll(hidden, targets, Frozen(head, plain)).sum()
    expected = functional.cross_entropy(head(hidden), targets, reduction="sum")
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(3 * found, hidden)
    (wanted,) = torch.autograd.grad(3 * expected, hidden)
    torch.testing.assert_close(gradient, wanted)


def test_without_gradients_none_is_formed() -> None:
    head = nn.Linear(6, 11).requires_grad_(False)
    with torch.no_grad():
        total = head_nll(torch.randn(3, 6), torch.tensor([1, 2, 3]), Frozen(head, plain)).sum()
    assert not total.requires_grad


def test_an_unlikely_target_has_a_finite_loss() -> None:
    head = nn.Linear(2, 3, bias=False).requires_grad_(False)
    head.weight.copy_(torch.tensor([[1000.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    total = head_nll(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), Frozen(head, plain)).sum()
    assert total.item() == 1000.0
