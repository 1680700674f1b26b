"""LoRA layers over a frozen base: plain, rank-stabilised and weight-decomposed (DoRA).

Shape legend: N rows, I in_features, O out_features, R rank.
"""

import contextlib
import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.dense import dense_weight
from base.shapes import module_shapes
from training.config import TrainingConfig
from training.errors import ConfigError
from training.layers.start import start


class LoraLinear(nn.Module):
    """`y = W x + scaling * B A dropout(x)`, with W frozen in whatever form the base holds it.

    With `magnitude_O` (DoRA) the sum's weight keeps its direction and takes a learnt length per output; as in the
    paper's section 4.3, the length of `W + scaling * B A` is not differentiated. Dropout falls on the low-rank branch.

    With PiSSA or OLoRA the frozen weight is `W - scaling * B0 A0`, where B0 and A0 are what B and A began as. It is not
    formed: their product is subtracted beside W's, so that W stays as the base holds it, quantised or not.
    """

    def __init__(self, base: nn.Module, shape: tuple[int, int], config: TrainingConfig) -> None:
        super().__init__()
        out_features, in_features = shape
        device = next(iter([*base.parameters(), *base.buffers()])).device
        self.base = base
        self.scaling = config.scaling
        self.dropout = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
        self.lora_a_RI = nn.Parameter(torch.empty(config.rank, in_features, device=device))
        self.lora_b_OR = nn.Parameter(torch.zeros(out_features, config.rank, device=device))
        self.magnitude_O = nn.Parameter(dense_weight(base).norm(dim=1)) if config.dora else None
        self.enabled = True
        nn.init.kaiming_uniform_(self.lora_a_RI, a=math.sqrt(5))
        self.start_a_RI: Tensor | None = None
        self.start_b_OR: Tensor | None = None
        if config.init != "default":
            b_OR, a_RI = start(dense_weight(base), config.rank, config.init)
            root = math.sqrt(self.scaling) if config.init == "pissa" else 1.0
            self.set_start(a_RI / root, b_OR / root)

    def set_start(self, a_RI: Tensor, b_OR: Tensor) -> None:
        """Takes `scaling * B0 A0` out of the frozen weight, and begins with B0 and A0 as B and A."""
        self.start_a_RI, self.start_b_OR = a_RI, b_OR
        self.lora_a_RI.data.copy_(a_RI)
        self.lora_b_OR.data.copy_(b_OR)

    def matrices(self) -> tuple[Tensor, Tensor]:
        """A and B against the untouched base: what was taken out of it is their second half, negative in B."""
        if self.start_a_RI is None or self.start_b_OR is None:
            return self.lora_a_RI, self.lora_b_OR
        return torch.cat([self.lora_a_RI, self.start_a_RI]), torch.cat([self.lora_b_OR, -self.start_b_OR], dim=1)

    @property
    def is_decomposed(self) -> bool:
        """Whether a magnitude is learnt (DoRA)."""
        return self.magnitude_O is not None

    @property
    def drops(self) -> bool:
        """Whether dropout falls on the low-rank branch."""
        return isinstance(self.dropout, nn.Dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O] in the base's dtype; the adapter's own products are in float32."""
        out: Tensor = self.base(x)
        if not self.enabled:
            return out
        a_RI, b_OR = self.matrices()
        low = functional.linear(self.dropout(x.to(a_RI.dtype)), a_RI)
        delta = functional.linear(low, b_OR) * self.scaling
        if self.magnitude_O is None:
            return out + delta.to(out.dtype)
        return self._decomposed(out, delta)

    def _decomposed(self, out: Tensor, delta: Tensor) -> Tensor:
        assert self.magnitude_O is not None
        with torch.no_grad():
            a_RI, b_OR = self.matrices()
            length_O = (dense_weight(self.base) + self.scaling * b_OR @ a_RI).norm(dim=1)
        ratio_O = self.magnitude_O / length_O
        bias = getattr(self.base, "bias", None)
        decomposed: Tensor = ratio_O * (out + delta) if bias is None else ratio_O * (out - bias + delta) + bias
        return decomposed.to(out.dtype)


def inject(model: nn.Module, config: TrainingConfig) -> dict[str, LoraLinear]:
    """Wraps the targeted linear modules of `model` in place; returns them by module name.

    Raises:
        ConfigError: a target matches no linear module.
    """
    shapes = module_shapes(model)
    layers: dict[str, LoraLinear] = {}
    # One seed for the initialisation, whatever was drawn before: the same run gives the same adapter.
    torch.manual_seed(config.seed)
    for name in targeted(shapes, config.target_modules):
        layers[name] = LoraLinear(model.get_submodule(name), shapes[name], config)
    # All are made before any takes its place, so that a failure leaves the model as it was.
    for name, layer in layers.items():
        _set_module(model, name, layer)
    return layers


def remove(model: nn.Module, layers: Mapping[str, LoraLinear]) -> None:
    """Undoes `inject`."""
    for name, layer in layers.items():
        _set_module(model, name, layer.base)


def targeted(shapes: Mapping[str, tuple[int, int]], targets: Sequence[str] | Literal["all-linear"]) -> list[str]:
    """The modules that `targets` names, by whole name or last parts, as PEFT matches them.

    Raises:
        ConfigError: a target matches nothing.
    """
    if not shapes:
        raise ConfigError("this base has no linear layer that LoRA could adapt (GPT-2's Conv1D is not supported)")
    if targets == "all-linear":
        return list(shapes)
    suffixes = sorted({name.rpartition(".")[2] for name in shapes})
    if not targets:
        raise ConfigError(f"target_modules is empty; name some of {suffixes}, or all-linear")
    for target in targets:
        if not any(_matches(name, target) for name in shapes):
            nearest = difflib.get_close_matches(target, suffixes, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise ConfigError(f"target module {target!r} matches none of this base's linear modules {suffixes}{hint}")
    return [name for name in shapes if any(_matches(name, target) for target in targets)]


def target_names(shapes: Collection[str], modules: Collection[str]) -> tuple[str, ...]:
    """The shortest `target_modules` for an adapter on `modules`: last parts where they say exactly that."""
    suffixes = {module.rpartition(".")[2] for module in modules}
    exact = all(name in modules for name in shapes if name.rpartition(".")[2] in suffixes)
    return tuple(sorted(suffixes if exact else modules))


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _set_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


@contextlib.contextmanager
def adapters_off(layers: Mapping[str, LoraLinear]) -> Iterator[None]:
    """Within it the model is the untouched base; afterwards it is what it was, so that one may stand within another."""
    before = {name: layer.enabled for name, layer in layers.items()}
    for layer in layers.values():
        layer.enabled = False
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.enabled = before[name]
