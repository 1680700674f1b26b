"""Attention, MLP and norm modules with fewer and larger operations, for architectures whose modules are known.

Each takes the place of a transformers module and is called by the same decoder layer.

Shape legend: T tokens, C hidden size, H query heads, K key-value heads, D head dimension.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from service.engine.lora.layer import MixedLinear
from service.engine.model.attention import PagedAttention
from service.engine.model.operations import Operations

ATTENTION = frozenset(f"{family}Attention" for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3"))
"""Classes with `q_proj`, `k_proj`, `v_proj`, `o_proj`, rotary positions over the whole head, and perhaps head norms."""
MLP = frozenset(f"{family}MLP" for family in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3"))
"""Classes with `down_proj(act_fn(gate_proj(x)) * up_proj(x))`."""
NORMS = {
    **{f"{family}RMSNorm": 0.0 for family in ("Llama", "Mistral", "Qwen2", "Qwen3")},
    "Gemma3RMSNorm": 1.0,
}
"""Root-mean-square norms, and what is added to their weight."""

LAYERS = frozenset(f"{family}DecoderLayer" for family in ("Llama", "Mistral", "Qwen2", "Qwen3"))
"""Classes that normalise before attention and before the MLP, and add what these give."""

Join = Callable[..., MixedLinear]
"""`join(*names)`: the linear layers of these names as one."""


class FusedAttention(nn.Module):
    """One product for queries, keys and values; rotation in place; attention over the paged cache."""

    def __init__(self, name: str, original: Any, join: Join, attention: PagedAttention, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
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
        cos_1TD, sin_1TD = position_embeddings
        self._operations.rotate(qkv_TX, num_rotated, cos_1TD[0], sin_1TD[0])
        q_THD = heads_TXD[:, : self._num_heads]
        kv_T2KD = heads_TXD[:, self._num_heads :].view(len(qkv_TX), 2, self._num_kv, self._dim)
        out_THD = self._attention.attend(self._layer, q_THD, kv_T2KD, self._scale, self._window)
        return self.out(out_THD.flatten(1))[None], None


class FusedMlp(nn.Module):
    """One product for gate and up."""

    def __init__(self, name: str, original: Any, join: Join, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
        self.gate_up = join(f"{name}.gate_proj", f"{name}.up_proj")
        self.down = join(f"{name}.down_proj")
        self.activation = original.act_fn

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        out: Tensor = self.down(self._operations.gate(self.activation, self.gate_up(x)))
        return out


class FusedLayer(nn.Module):
    """A decoder layer whose parts are fused; what enters a norm is added up with it."""

    def __init__(self, original: Any, operations: Operations) -> None:
        super().__init__()
        self.self_attn, self.mlp = original.self_attn, original.mlp
        self.input_layernorm, self.post_attention_layernorm = (
            original.input_layernorm,
            original.post_attention_layernorm,
        )
        if hasattr(original, "attention_type"):
            self.attention_type = original.attention_type
        self._operations = operations

    def forward(self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor], **others: Any) -> Tensor:
        """[1, T, C] to [1, T, C]; the input is changed."""
        del others
        x_TC, norm = hidden_states[0], self.post_attention_layernorm
        attended_1TC, _ = self.self_attn(self.input_layernorm(hidden_states), position_embeddings)
        normed_TC = self._operations.add_and_normalize(x_TC, attended_1TC[0], norm.weight, norm.eps)
        return x_TC.add_(self.mlp(normed_TC))[None]


class FusedNorm(nn.Module):
    """Root mean square normalisation in one operation."""

    def __init__(self, original: Any, added: float, operations: Operations) -> None:
        super().__init__()
        self._operations = operations
        self.weight = original.weight.detach() + added
        self.eps = float(getattr(original, "variance_epsilon", None) or original.eps)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return self._operations.normalize(x, self.weight, self.eps)


def _window(original: Any) -> int | None:
    """Of this layer; attributes differ between families, and a window may apply to some layers only."""
    if hasattr(original, "sliding_window"):
        window = original.sliding_window
    else:
        window = getattr(original.config, "sliding_window", None) if type(original).__name__ in _CONFIG_WINDOW else None
    return None if window is None else int(window)


_CONFIG_WINDOW = frozenset({"MistralAttention"})
"""Classes that take the window of the configuration for every layer."""
