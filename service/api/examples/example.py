"""What an example is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DIGEST = "sha256:6f1ed002ab5595859014ebf0951522d9c1b2a41d3f8d8d3c7a5e2f4b6c8d0e1f"
BASE_DIGEST = "sha256:0c3d1a5f7b9e2d4c6a8b0e1f3d5c7b9a1e3f5d7c9b0a2e4f6d8c0b1a3e5f7d9c"


@dataclass(frozen=True, kw_only=True)
class Example:
    """Of one route."""

    request: Any = None
    """None: there is no body."""
    response: Any = None
    """None: what is answered is no JSON."""


Examples = Mapping[tuple[str, str], Example]
"""By method and path."""
