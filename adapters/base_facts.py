"""What an adapter is checked against."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BaseFacts:
    """Identity and shape of the base that adapters are for."""

    name: str
    """Public name, for messages and records."""
    digest: str
    """`sha256:` and 64 hexadecimal digits, independent of dtype and quantisation."""
    linear_shapes: Mapping[str, tuple[int, int]]
    """Module name (`model.layers.0.self_attn.q_proj`) to (out_features, in_features), the output head left out."""
