"""The memory of the key-value cache.

Shape legend: S token slots (pages times tokens a page), K key-value heads, D head dimension.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.engine.errors import EngineConfigError
from service.engine.memory import zeros


@dataclass(frozen=True)
class CacheShape:
    """What one token takes in the cache."""

    num_layers: int
    num_kv_heads: int
    head_dim: int
    page_tokens: int

    @classmethod
    def of(cls, config: Any, page_tokens: int) -> "CacheShape":
        """As a transformers text configuration says."""
        num_heads = config.num_attention_heads
        return cls(
            num_layers=config.num_hidden_layers,
            num_kv_heads=getattr(config, "num_key_value_heads", None) or num_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
            page_tokens=page_tokens,
        )

    def page_bytes(self, dtype: torch.dtype) -> int:
        """Of one page, all layers together."""
        return self.num_layers * self.page_tokens * 2 * self.num_kv_heads * self.head_dim * dtype.itemsize


class CacheStore:
    """Keys and values of every layer: `layers[i]` is [S, 2, K, D], keys first.

    Page p holds the slots from p * page_tokens on. One page comes after the `num_pages` that sequences may have.

    Raises:
        EngineConfigError: the bytes do not hold a single page.
    """

    def __init__(self, shape: CacheShape, max_bytes: int, dtype: torch.dtype, device: torch.device) -> None:
        self.page_tokens = shape.page_tokens
        self.num_pages = max_bytes // shape.page_bytes(dtype)
        if self.num_pages < 1:
            raise EngineConfigError(
                f"kv_cache_memory_bytes is {max_bytes}, but one page of {shape.page_tokens} tokens "
                f"takes {shape.page_bytes(dtype)} bytes; raise it"
            )
        size = ((self.num_pages + 1) * shape.page_tokens, 2, shape.num_kv_heads, shape.head_dim)
        # Zeros, because a masked slot still meets a zero probability, and zero times an unwritten value may be NaN.
        self.layers: list[Tensor] = [zeros(size, dtype, device) for _ in range(shape.num_layers)]

    @property
    def scratch_page(self) -> int:
        """Takes the keys and values of tokens that only fill a batch up."""
        return self.num_pages

    @property
    def num_tokens(self) -> int:
        """Tokens that fit in all pages together."""
        return self.num_pages * self.page_tokens
