"""An adapter's weights in the form in which slots hold them.

Shape legend: I in_features, O out_features of a part, R rank, P pieces of a group's outputs, F features of a piece.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adapters.config import LoraConfig
from adapters.weights import LoraWeights
from service.engine.lora.groups import Group
from service.engine.model.products import Product

_SMALLEST_RANK = 8


@dataclass(frozen=True)
class FoldedGroup:
    """One adapter's part in one group of layers; parts that it leaves alone are zero."""

    a_IR: Tensor
    """The parts' A side by side: R columns of each."""
    b_PRF: Tensor
    """B of the parts, cut into pieces, times the adapter's scaling."""
    ratio_O: Tensor | None
    """DoRA: learnt magnitude over the length of the summed weight, of all parts; none for plain LoRA."""
    ranks: tuple[int, ...] | None = None
    """Of each part, beyond which A and B are zero; 0 for one that is left alone. None: as wide as A and B are."""

    def pinned(self) -> "FoldedGroup":
        """In memory from which a device copies without the processor's help."""
        ratio_O = None if self.ratio_O is None else self.ratio_O.pin_memory()
        return FoldedGroup(self.a_IR.pin_memory(), self.b_PRF.pin_memory(), ratio_O, self.ranks)


@dataclass(frozen=True)
class FoldedAdapter:
    """A whole adapter in host memory, ready to be copied into a slot."""

    rank: int
    """Of every group: the smallest power of two, from 8 on, that no layer's rank exceeds."""
    groups: Mapping[str, FoldedGroup]
    """By the group's name; groups that the adapter leaves alone are absent."""

    @property
    def dora(self) -> bool:
        """Whether any layer is DoRA's."""
        return any(group.ratio_O is not None for group in self.groups.values())

    def pinned(self) -> "FoldedAdapter":
        """The same in pinned memory, for slots on CUDA."""
        return FoldedAdapter(self.rank, {name: group.pinned() for name, group in self.groups.items()})

    @property
    def num_bytes(self) -> int:
        """In host memory."""
        return sum(
            tensor.nbytes
            for group in self.groups.values()
            for tensor in (group.a_IR, group.b_PRF, *([] if group.ratio_O is None else [group.ratio_O]))
        )


def fold(
    weights: Mapping[str, LoraWeights],
    config: LoraConfig,
    groups: Sequence[Group],
    products: Mapping[str, Product],
    dtype: torch.dtype,
) -> FoldedAdapter:
    """Brings an adapter into slot form: parts joined, padded to one rank, scaling folded into B.

    Args:
        weights: by module name.
        config: says how strongly each acts.
        groups: of the base.
        products: the base's products by group name; DoRA needs their weights.
        dtype: of the slots.
    """
    largest = max(part.lora_a_RI.shape[0] for part in weights.values())
    rank = max(_SMALLEST_RANK, 1 << (largest - 1).bit_length())
    folded = {}
    for group in groups:
        if any(name in weights for name in group.names):
            folded[group.name] = _fold_group(weights, config, group, products[group.name], rank, dtype)
    return FoldedAdapter(rank, folded)


def _fold_group(
    weights: Mapping[str, LoraWeights],
    config: LoraConfig,
    group: Group,
    product: Product,
    rank: int,
    dtype: torch.dtype,
) -> FoldedGroup:
    a_IR = torch.zeros(group.in_features, rank * len(group.names), dtype=dtype)
    b_PRF = torch.zeros(len(group.pieces), rank, group.piece_features, dtype=dtype)
    for at, name in enumerate(group.names):
        if (part := weights.get(name)) is not None:
            used = part.lora_a_RI.shape[0]
            a_IR[:, at * rank : at * rank + used] = part.lora_a_RI.t()
            pieces = slice(group.pieces.index(at), group.pieces.index(at) + group.pieces.count(at))
            b_PFR = part.lora_b_OR.view(-1, group.piece_features, used)
            # Scaled and transposed on the way: loads share their memory bandwidth with the engine.
            torch.mul(b_PFR.transpose(1, 2), config.scaling(name), out=b_PRF[pieces, :used])
    ranks = tuple(weights[name].lora_a_RI.shape[0] if name in weights else 0 for name in group.names)
    return FoldedGroup(a_IR, b_PRF, _ratio(weights, config, group, product), ranks)


def _ratio(weights: Mapping[str, LoraWeights], config: LoraConfig, group: Group, product: Product) -> Tensor | None:
    parts = {at: weights[name] for at, name in enumerate(group.names) if name in weights}
    if all(part.magnitude_O is None for part in parts.values()):
        return None
    dense_OI = product.dense()
    ratio_O = torch.ones(dense_OI.shape[0])
    for at, part in parts.items():
        if part.magnitude_O is not None:
            columns = group.columns[at]
            scaled_OR = part.lora_b_OR.float() * config.scaling(group.names[at])
            summed_OI = torch.addmm(dense_OI[columns].cpu(), scaled_OR, part.lora_a_RI.float())
            ratio_O[columns] = part.magnitude_O.float() / summed_OI.norm(dim=1)
    return ratio_O
