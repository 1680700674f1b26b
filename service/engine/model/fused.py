"""Attention, MLP and norm modules with fewer and larger operations, for architectures whose modules are known.

Each takes the place of a transformers module and is called by the same decoder layer.

Shape legend: T tokens, C hidden size, H query heads, K key-value heads, D head dimension.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from service.engine.lora.layer import MixedLinear
from service.engine.model.attention import PagedAttention

ATTENTION = frozenset(f"{family}Attention" for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3"))
"""Classes with `q_proj`, `k_proj`, `v_proj`, `o_proj`, rotary positions over the whole head, and perhaps head norms."""
MLP = frozenset(f"{family}MLP" for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3"))
"""Classes with `down_proj(act_fn(gate_proj(x)) * up_proj(x))`."""
NORMS = {
    **{f"{family}RMSNorm": 0.0 for family in ("Llama", "Mistral", "Qwen2", "Qwen3")},
    "Gemma3RMSNorm": 1.0,
}
"""Root-mean-square norms, and what is added to their weight."""

Join = Callable[..., MixedLinear]
"""`join(*names)`: the linear layers of these names as one."""


class FusedAttention(nn.Module):
    """One product for queries, keys and values; rotation in place; attention over the paged cache."""

    def __init__(self, name: str, original: Any, join: Join, attention: PagedAttention) -> None:
        super().__init__()
        self._layer, self._dim, self._scale = original.layer_idx, original.head_dim, original.scaling
        self._num_kv = original.k_proj.out_features // self._dim
        self._num_heads = original.q_proj.out_features // self._dim
        self._window = _window(original)
        self.qkv = join(f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj")
        self.out = join(f"{name}.o_proj")
        self.q_norm, self.k_norm = getattr(original, "q_norm", None), getattr(original, "k_norm", None)
        self._attention = attention

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **others: Any
    ) -> tuple[Tensor, None]:
        """[1, T, C] to [1, T, C]; what transformers passes besides is for caches and masks that are not used."""
        del others
        qkv_TX = self.qkv(hidden_states[0])
        heads_TXD = qkv_TX.view(len(qkv_TX), -1, self._dim)
        num_rotated = self._num_heads + self._num_kv
        if self.q_norm is not None and self.k_norm is not None:
            heads_TXD[:, : self._num_heads] = self.q_norm(heads_TXD[:, : self._num_heads])
            heads_TXD[:, self._num_heads : num_rotated] = self.k_norm(heads_TXD[:, self._num_heads : num_rotated])
        _rotate(heads_TXD[:, :num_rotated], *position_embeddings)
        q_THD = heads_TXD[:, : self._num_heads]
        kv_T2KD = heads_TXD[:, self._num_heads :].view(len(qkv_TX), 2, self._num_kv, self._dim)
        out_THD = self._attention.attend(self._layer, q_THD, kv_T2KD, self._scale, self._window)
        return self.out(out_THD.flatten(1))[None], None


class FusedMlp(nn.Module):
    """One product for gate and up."""

    def __init__(self, name: str, original: Any, join: Join) -> None:
        super().__init__()
        self.gate_up = join(f"{name}.gate_proj", f"{name}.up_proj")
        self.down = join(f"{name}.down_proj")
        self.activation = original.act_fn

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(self.activation(gate).mul_(up))
        return out


class FusedNorm(nn.Module):
    """Root mean square normalisation (arXiv:1910.07467) in one operation."""

    def __init__(self, original: Any, added: float) -> None:
        super().__init__()
        self._weight = original.weight.detach() + added
        self._eps = float(getattr(original, "variance_epsilon", None) or original.eps)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return functional.rms_norm(x, self._weight.shape, self._weight, self._eps)


def _rotate(x_TXD: Tensor, cos_1TD: Tensor, sin_1TD: Tensor) -> None:
    """Rotary positions (arXiv:2104.09864), in place, with halves for pairs as transformers lays them out."""
    half = x_TXD.shape[-1] // 2
    turned_TXD = torch.cat((-x_TXD[..., half:], x_TXD[..., :half]), dim=-1).mul_(sin_1TD[0][:, None])
    x_TXD.mul_(cos_1TD[0][:, None]).add_(turned_TXD)


def _window(original: Any) -> int | None:
    """Of this layer; attributes differ between families, and a window may apply to some layers only."""
    if hasattr(original, "sliding_window"):
        window = original.sliding_window
    else:
        window = getattr(original.config, "sliding_window", None) if type(original).__name__ in _CONFIG_WINDOW else None
    return None if window is None else int(window)


_CONFIG_WINDOW = frozenset({"MistralAttention"})
"""Classes that take the window of the configuration for every layer."""
