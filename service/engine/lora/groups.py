"""Linear layers that share an input, and so are computed together."""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class Group:
    """One layer, or several with the same input: their outputs lie side by side."""

    names: tuple[str, ...]
    """Module names of the parts, as adapters know them."""
    in_features: int
    out_features: tuple[int, ...]
    """Of each part."""

    @property
    def name(self) -> str:
        """Of the group: its first part's."""
        return self.names[0]

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Where each part's outputs lie."""
        ends = list(accumulate(self.out_features))
        return tuple(slice(end - size, end) for end, size in zip(ends, self.out_features, strict=True))

    @property
    def piece_features(self) -> int:
        """Outputs of a piece: the largest size that divides every part, so that one batched product makes them all."""
        return math.gcd(*self.out_features)

    @cached_property
    def pieces(self) -> tuple[int, ...]:
        """For each piece of the outputs, in order, the part it belongs to."""
        return tuple(part for part, size in enumerate(self.out_features) for _ in range(size // self.piece_features))
