"""Fused functions against autograd over the plain operations, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers.frozen import Frozen
from training.layers.functions import GELU_TANH, SILU, Activation, GatedMlpLayers, gated_mlp, project, rms_norm, rotate
from training.layers.group import Group, Member
from training.layers.products import plain


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def group(linears: Sequence[nn.Linear]) -> Group:
    members = tuple(Member(Frozen(linear, plain), 0.5 + index) for index, linear in enumerate(linears))
    return Group(members, plain)


def linears(width: int, *outs: int, bias: bool = False) -> list[nn.Linear]:
    return [nn.Linear(width, out, bias=bias, dtype=torch.float64).requires_grad_(False) for out in outs]


def matrices(layers: Sequence[nn.Linear], ranks: Sequence[int]) -> list[Any]:
    found: list[Any] = []
    for layer, rank in zip(layers, ranks, strict=True):
        a_RI, b_OR = double(rank, layer.in_features), double(layer.out_features, rank)
        found += [a_RI, b_OR] if rank else [None, None]
    return found


def branch(layer: nn.Linear, scaling: float, x: Tensor, a_RI: Tensor | None, b_OR: Tensor | None) -> Tensor:
    out: Tensor = layer(x)
    return out if a_RI is None or b_OR is None else out + scaling * x @ a_RI.t() @ b_OR.t()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.mark.parametrize("ranks", [(2, 3, 1), (2, 0, 3), (0, 0, 0)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_group_is_its_layers_one_by_one(ranks: tuple[int, ...], bias: bool) -> None:
    layers = linears(5, 4, 3, 6, bias=bias)
    x, given = double(7, 5), matrices(layers, ranks)
    outs = project(group(layers), x, given)
    for index, (layer, out) in enumerate(zip(layers, outs, strict=True)):
        torch.testing.assert_close(out, branch(layer, 0.5 + index, x, given[2 * index], given[2 * index + 1]))
    assert torch.autograd.gradcheck(lambda x, *given: project(group(layers), x, given), (x, *given))


@pytest.mark.parametrize(("activation", "reference"), [(SILU, functional.silu), (GELU_TANH, nn.GELU("tanh"))])
@pytest.mark.parametrize("ranks", [(2, 3, 1), (0, 2, 0)])
def test_a_gated_mlp_is_its_layers_one_by_one(
    activation: Activation, reference: Callable[[Tensor], Tensor], ranks: tuple[int, ...]
) -> None:
    gate, up, down = (*linears(5, 6, 6), *linears(6, 5))
    first, last = matrices([gate, up], ranks[:2]), matrices([down], ranks[2:])
    layers = GatedMlpLayers(group([gate, up]), group([down]), activation)
    x = double(7, 5)
    inner = reference(branch(gate, 0.5, x, *first[:2])) * branch(up, 1.5, x, *first[2:])
    torch.testing.assert_close(gated_mlp(layers, x, first, last), branch(down, 0.5, inner, *last))
    assert torch.autograd.gradcheck(lambda x, *given: gated_mlp(layers, x, given[:4], given[4:]), (x, *first, *last))


def test_an_input_that_needs_no_gradient_gets_none() -> None:
    layers = linears(5, 4)
    given = matrices(layers, (2,))
    (out,) = project(group(layers), double(7, 5).detach(), given)
    assert all(
        gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), [x for x in given if x is not None])
    )


def test_nothing_of_the_weights_is_kept_for_backward() -> None:
    layers = linears(50, 40, 30)
    x, given = double(7, 50), matrices(layers, (2, 2))
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        project(group(layers), x, given)
    assert sum(tensor.numel() for tensor in kept) == x.numel() + 7 * 4 + sum(m.numel() for m in given if m is not None)


def test_the_norm_is_torchs_to_the_gradient() -> None:
    x, weight = double(7, 5), torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(rms_norm(x, weight, 1e-5), functional.rms_norm(x, (5,), weight, 1e-5))
    assert torch.autograd.gradcheck(lambda x: rms_norm(x, weight, 1e-5), (x,))


def test_a_rotation_turns_pairs_and_its_gradient_turns_back() -> None:
    x, angle = double(7, 3, 4), torch.randn(7, 1, 2, dtype=torch.float64)
    pairs = torch.complex(x[..., :2], x[..., 2:]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(rotate(x, angle.cos(), angle.sin()), torch.cat((pairs.real, pairs.imag), dim=-1))
    assert torch.autograd.gradcheck(lambda x: rotate(x, angle.cos(), angle.sin()), (x,))
