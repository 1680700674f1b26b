"""A group of the base's linear layers, with the adapters of the step's tokens.

Shape legend: T tokens, I in_features, O out_features of all parts, P pieces of them, F features of a piece, R rank of
all parts together, S slots of a range, G places a slot, E entries: pairs of a token and an adapter.
"""

import torch
from torch import Tensor, nn

from service.engine.lora.groups import Group
from service.engine.lora.routing import Batched, Magnitudes, Routing, Run
from service.engine.lora.slots import Slots
from service.engine.model.products import Product


class MixedLinear(nn.Module):
    """`y = W x + sum of scale * B A x` over the adapters of each token."""

    def __init__(self, group: Group, product: Product, routing: Routing) -> None:
        super().__init__()
        self.group = group
        self.product = product
        self._routing = routing
        self._slots: Slots | None = None
        self._parts = torch.tensor(group.pieces)

    def attach(self, slots: Slots) -> None:
        """Where the adapters' weights are; without it the routing must stay empty."""
        self._slots = slots

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O], where the dimensions before the last are the step's tokens."""
        x_TI = x.reshape(-1, self.group.in_features)
        out_TO = self.product(x_TI)
        self._add_changes(x_TI, out_TO)
        for magnitudes in self._routing.magnitudes:
            if self.group.name in magnitudes.groups:
                self._scale_rows(out_TO, magnitudes)
        return out_TO.view(*x.shape[:-1], -1)

    def _add_changes(self, x_TI: Tensor, out_TO: Tensor) -> None:
        name, routing = self.group.name, self._routing
        for grouped in routing.grouped:
            if name in grouped.groups:
                assert self._slots is not None
                grouped.add(x_TI, out_TO, self._slots.stack(grouped.rank, name))
        for batched in routing.batched:
            if name in batched.groups:
                self._add_batched(x_TI, out_TO, batched)
        for run in routing.runs:
            if name in run.groups:
                self._add_run(x_TI, out_TO, run)

    def _add_run(self, x_TI: Tensor, out_TO: Tensor, run: Run) -> None:
        assert self._slots is not None
        stack, slot, rows = self._slots.stack(run.rank, self.group.name), run.use.slot, slice(run.start, run.end)
        low_TR = x_TI[rows].to(stack.a_SIR.dtype) @ stack.a_SIR[slot.index]
        if run.use.scale != 1:
            low_TR *= run.use.scale
        low_TR, out_TPF = low_TR.to(out_TO.dtype), self._pieces(out_TO)[rows]
        for piece, part in enumerate(self.group.pieces):
            ranks = slice(part * run.rank, (part + 1) * run.rank)
            out_TPF[:, piece].addmm_(low_TR[:, ranks], stack.b_SPRF[slot.index, piece])

    def _add_batched(self, x_TI: Tensor, out_TO: Tensor, batched: Batched) -> None:
        assert self._slots is not None
        stack = self._slots.stack(batched.rank, self.group.name)
        x_SGI = x_TI[batched.gather].view(batched.num_slots, -1, self.group.in_features)
        low_SGR = torch.bmm(x_SGI.to(stack.a_SIR.dtype), stack.a_SIR[batched.slots])
        delta_SGPF = self._expand(low_SGR, stack.b_SPRF[batched.slots])
        _add(self._pieces(out_TO), delta_SGPF, batched)

    def _expand(self, low_SGR: Tensor, b_SPRF: Tensor) -> Tensor:
        """[S, G, P, F]; not contiguous."""
        num_slots, num_places, _ = low_SGR.shape
        # Into memory of its own and added afterwards: a batched product with a strided result costs several times as
        # much, and so does one product a part.
        low_SPGR = low_SGR.view(num_slots, num_places, len(self.group.names), -1).transpose(1, 2)
        if len(self.group.pieces) > len(self.group.names):
            low_SPGR = low_SPGR[:, self._parts]
        product = torch.bmm(low_SPGR.flatten(0, 1), b_SPRF.flatten(0, 1))
        return product.view(num_slots, -1, num_places, b_SPRF.shape[3]).transpose(1, 2)

    def _pieces(self, out_TO: Tensor) -> Tensor:
        return out_TO.view(len(out_TO), len(self.group.pieces), -1)

    def _scale_rows(self, out_TO: Tensor, magnitudes: Magnitudes) -> None:
        assert self._slots is not None
        ratio_SO = self._slots.stack(magnitudes.rank, self.group.name).ratio_SO
        if ratio_SO is None:
            return
        rows_EO, ratio_EO, bias_O = out_TO[magnitudes.tokens], ratio_SO[magnitudes.indices], self.product.bias_O
        # The bias is added after the weight's magnitude is set (arXiv:2402.09353, equation 5).
        scaled_EO = rows_EO * ratio_EO if bias_O is None else (rows_EO - bias_O).mul_(ratio_EO).add_(bias_O)
        # An int8 base keeps its biases in float32 whatever the model's dtype is.
        out_TO[magnitudes.tokens] = scaled_EO.to(out_TO.dtype)


def _add(out_TPF: Tensor, delta_SGPF: Tensor, batched: Batched) -> None:
    if batched.places is None and batched.scales is None and isinstance(batched.tokens, slice):
        # As most steps are: the result need not be put in order first.
        out_TPF[batched.tokens].view(delta_SGPF.shape).add_(delta_SGPF)
        return
    delta_EPF = delta_SGPF.flatten(0, 1)
    if batched.places is not None:
        delta_EPF = delta_EPF[batched.places]
    if batched.scales is not None:
        delta_EPF = delta_EPF * batched.scales
    if isinstance(batched.tokens, slice):
        out_TPF[batched.tokens] += delta_EPF
    else:
        out_TPF.index_add_(0, batched.tokens, delta_EPF.to(out_TPF.dtype))
