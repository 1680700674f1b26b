"""An adapter's change added to its base's weights.

The sum is formed in float32 from the weights as they are stored, and rounded once: adding to a quantised copy, or to
one that was rounded before, gives another model than the one that was trained.

Shape legend: I in_features, O out_features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from adapters.config import LoraConfig
from adapters.errors import InvalidAdapterError
from adapters.weights import LoraWeights
from base.stored import StoredWeights

_WEIGHT = ".weight"


class MergedWeights:
    """The stored tensors of a base with an adapter's change in them, computed one at a time.

    Args:
        stored: the base's.
        weights: the adapter's, by module name.
        config: how strongly each acts.

    Raises:
        InvalidAdapterError: a weight that the adapter changes is not stored under its module's name, or not as plain
            floating point numbers.
    """

    def __init__(self, stored: StoredWeights, weights: Mapping[str, LoraWeights], config: LoraConfig) -> None:
        self.stored = stored
        self._weights = weights
        self._config = config
        for module in weights:
            self._refuse_unmergeable(module)

    def changes(self, name: str) -> bool:
        """Whether the tensor differs from the base's."""
        return name.removesuffix(_WEIGHT) in self._weights and name.endswith(_WEIGHT)

    def read(self, name: str) -> Tensor:
        """One tensor: changed, in float32; else as it is stored."""
        tensor = self.stored.read(name)
        if not self.changes(name):
            return tensor
        module = name.removesuffix(_WEIGHT)
        return merged_weight(tensor, self._weights[module], self._config.scaling(module))

    def _refuse_unmergeable(self, module: str) -> None:
        info = self.stored.tensors.get(module + _WEIGHT)
        if info is None:
            raise InvalidAdapterError(
                f"the base's files hold no tensor {module + _WEIGHT!r}: they name or join their weights otherwise than "
                "its modules, so the adapter cannot be merged into them; export it with --format peft"
            )
        if info.dtype is None:
            raise InvalidAdapterError(
                f"the base stores {info.name!r} quantised: an adapter is merged into the original weights only; name "
                "the unquantised base with --base-model, or export with --format peft"
            )


def merged_weight(weight_OI: Tensor, part: LoraWeights, scaling: float) -> Tensor:
    """`W + scaling · B A` in float32; with DoRA each row of it brought to its learnt length (arXiv 2402.09353, eq. 5).

    Args:
        weight_OI: the base's, of any floating point dtype.
        part: the adapter's change of this module.
        scaling: the factor on `B A`.
    """
    summed_OI = torch.addmm(weight_OI.to(torch.float32), part.lora_b_OR, part.lora_a_RI, alpha=scaling)
    if part.magnitude_O is None:
        return summed_OI
    ratio_O: Tensor = part.magnitude_O / torch.linalg.vector_norm(summed_OI, dim=1)
    return summed_OI * ratio_O.unsqueeze(1)
