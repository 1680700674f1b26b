"""Turns a loaded base into one that the engine can run: paged attention, joined products, adapters on every layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from base.int8 import Int8Linear
from base.shapes import head_names, module_shapes
from base.smoothing import input_factors
from service.engine.lora.groups import Group
from service.engine.lora.layer import MixedLinear
from service.engine.lora.routing import Routing
from service.engine.lora.slots import Slots
from service.engine.model.attention import PagedAttention, install
from service.engine.model.fused import ATTENTION, LAYERS, MLP, NORMS, FusedAttention, FusedLayer, FusedMlp, FusedNorm
from service.engine.model.operations import Operations
from service.engine.model.products import Product, create_product


@dataclass(frozen=True)
class PrepareOptions:
    """How the modules are replaced."""

    fused: bool
    """Use fused modules for known architectures; off: only attention's inner function is replaced."""
    packed: bool
    """Keep weights in a kernel's own layout: oneDNN's, or tiles of int8."""
    operations: Operations
    """What the fused modules do between their products."""
    head_text: Sequence[int] = ()
    """Tokens over which the output head's inputs are measured, to quantise it to int8; none: it stays as it is."""


class Head(nn.Module):
    """The output head as one product."""

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden size] to [..., vocabulary]."""
        out_NV = self.product(x.reshape(-1, x.shape[-1]))
        # Not -1 for the last: there may be no rows.
        return out_NV.view(*x.shape[:-1], out_NV.shape[-1])


class Preparation:
    """Replaces the modules of one model; afterwards `layers` has every adaptable layer by its group's name."""

    def __init__(
        self, model: PreTrainedModel, attention: PagedAttention, routing: Routing, options: PrepareOptions
    ) -> None:
        self._model = model
        self._routing = routing
        self._options = options
        self._shapes = module_shapes(model)
        self.layers: dict[str, MixedLinear] = {}
        self._replace_head()
        if options.fused:
            self._fuse(attention)
        taken = {name for layer in self.layers.values() for name in layer.group.names}
        for name in self._shapes.keys() - taken:
            _replace(model, name, self._join(name))
        install(model, model.config.get_text_config(), attention)

    @property
    def groups(self) -> list[Group]:
        """Of all layers."""
        return [layer.group for layer in self.layers.values()]

    def attach(self, slots: Slots) -> None:
        """Gives the layers the adapters' weights."""
        for layer in self.layers.values():
            layer.attach(slots)

    def _fuse(self, attention: PagedAttention) -> None:
        operations = self._options.operations
        for name, module in list(self._model.named_modules()):
            kind = type(module).__name__
            if kind in ATTENTION:
                _replace(self._model, name, FusedAttention(name, module, self._join, attention, operations))
            elif kind in MLP:
                _replace(self._model, name, FusedMlp(name, module, self._join, operations))
        # After the attention, which takes its head norms over.
        for name, module in list(self._model.named_modules()):
            if (added := NORMS.get(type(module).__name__)) is not None:
                _replace(self._model, name, FusedNorm(module, added, operations))
        # Last, because they take the fused parts over.
        for name, module in list(self._model.named_modules()):
            if type(module).__name__ in LAYERS:
                _replace(self._model, name, FusedLayer(module, operations))

    def _join(self, *names: str) -> MixedLinear:
        parts = [self._model.get_submodule(name) for name in names]
        sizes = [self._shapes[name] for name in names]
        group = Group(names, sizes[0][1], tuple(rows for rows, _ in sizes))
        product = create_product(parts, packed=self._options.packed)
        self.layers[group.name] = MixedLinear(group, product, self._routing)
        return self.layers[group.name]

    def _replace_head(self) -> None:
        for name in head_names(self._model):
            head = self._model.get_submodule(name)
            if type(head) is nn.Linear:
                part = self._quantized(name, head) if self._options.head_text else head
                _replace(self._model, name, Head(create_product([part], packed=self._options.packed)))

    def _quantized(self, name: str, head: nn.Linear) -> Int8Linear:
        return Int8Linear(head, input_factors(self._model, [name], self._options.head_text).get(name))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
