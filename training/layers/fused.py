"""Forward functions of attention, MLP and norm modules, with fewer and larger operations than transformers' own.

Each stands in for the `forward` of one module and leaves the module tree as it is. The low-rank branches are read from
the `LoraLinear` layers that lie in the module; with dropout or DoRA in a group, its layers run one by one as they are.

Shape legend: B sequences, T tokens across, N = B T, C channels, H query heads, K key-value heads, D head dimension.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from training.layers.attention import Shape, attend
from training.layers.frozen import Frozen
from training.layers.functions import GELU_TANH, SILU, GatedMlpLayers, gated_mlp, project, rms_norm, rotate
from training.layers.group import Group, Member
from training.layers.lora import LoraLinear
from training.layers.products import Product

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma3")
ATTENTION = frozenset(f"{family}Attention" for family in FAMILIES)
"""Classes with `q_proj`, `k_proj`, `v_proj`, `o_proj`, rotary positions over the whole head, and perhaps head norms."""
MLP = frozenset(f"{family}MLP" for family in FAMILIES)
"""Classes with `down_proj(act_fn(gate_proj(x)) * up_proj(x))`."""
NORMS = {**{f"{family}RMSNorm": 0.0 for family in FAMILIES}, "Gemma3RMSNorm": 1.0}
"""Root-mean-square norms, and what is added to their weight."""
ACTIVATIONS = {"silu": SILU, "gelu_pytorch_tanh": GELU_TANH}
_CONFIG_WINDOW = frozenset({"MistralAttention"})
"""Classes that take the window of the configuration for every layer."""


class Linears:
    """Linear layers of one input, with their low-rank branches where they have any."""

    def __init__(self, layers: Sequence[nn.Module], product: Product) -> None:
        self._layers = tuple(layers)
        adapted = [layer for layer in layers if isinstance(layer, LoraLinear)]
        self.fused = not any(layer.is_decomposed or layer.drops for layer in adapted)
        self.group = Group(tuple(_member(layer, product) for layer in layers), product)

    def __call__(self, x_NC: Tensor) -> tuple[Tensor, ...]:
        """Each layer's output."""
        if not self.fused:
            return tuple(layer(x_NC) for layer in self._layers)
        return project(self.group, x_NC, self.matrices())

    def matrices(self) -> tuple[Tensor | None, ...]:
        """A and B of each layer; nothing where there is none or it is switched off."""
        found: list[Tensor | None] = []
        for layer in self._layers:
            if isinstance(layer, LoraLinear) and layer.enabled:
                found += layer.matrices()
            else:
                found += [None, None]
        return tuple(found)


class FusedAttention:
    """One group for queries, keys and values, one for the output; attention row by row."""

    def __init__(self, module: Any, product: Product) -> None:
        self._module = module
        self._qkv = Linears([module.q_proj, module.k_proj, module.v_proj], product)
        self._out = Linears([module.o_proj], product)
        self._norms = getattr(module, "q_norm", None), getattr(module, "k_norm", None)

    def __call__(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        row_lengths: Sequence[int] | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        """[B, T, C] to [B, T, C]; masks are not looked at, see `attend`."""
        assert others.get("past_key_values") is None, "training keeps no cache"
        batch, length, _ = hidden_states.shape
        q, k, v = (
            part.view(batch * length, -1, self._module.head_dim) for part in self._qkv(hidden_states.flatten(0, 1))
        )
        cos, sin = (_half(table, batch) for table in position_embeddings)
        q, k = (
            rotate(part if norm is None else norm(part), cos, sin)
            for part, norm in zip((q, k), self._norms, strict=True)
        )
        q, k, v = (part.view(batch, length, *part.shape[1:]) for part in (q, k, v))
        out_BTHD = attend(q, k, v, self._shape, row_lengths)
        (out_NC,) = self._out(out_BTHD.reshape(batch * length, -1))
        return out_NC.view(batch, length, -1), None

    @property
    def _shape(self) -> Shape:
        dropout = self._module.attention_dropout if self._module.training else 0.0
        return Shape(self._module.scaling, window(self._module), float(dropout))


class FusedMlp:
    """Gate, up, activation and down as one function."""

    def __init__(self, module: Any, activation: str, product: Product) -> None:
        self._module = module
        self._gate_up = Linears([module.gate_proj, module.up_proj], product)
        self._down = Linears([module.down_proj], product)
        self._layers = GatedMlpLayers(self._gate_up.group, self._down.group, ACTIVATIONS[activation])

    def __call__(self, x: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        x_NC = x.flatten(0, -2)
        if self._gate_up.fused and self._down.fused:
            out_NC = gated_mlp(self._layers, x_NC, self._gate_up.matrices(), self._down.matrices())
        else:
            gate_NF, up_NF = self._gate_up(x_NC)
            (out_NC,) = self._down(self._module.act_fn(gate_NF) * up_NF)
        return out_NC.view(x.shape)


class FusedNorm:
    """Root mean square normalisation as one function."""

    def __init__(self, module: Any, added: float) -> None:
        self._weight = module.weight.detach() + added if added else module.weight.detach()
        self._eps = float(getattr(module, "variance_epsilon", None) or module.eps)

    def __call__(self, hidden_states: Tensor) -> Tensor:
        """[..., C] to [..., C]."""
        return rms_norm(hidden_states, self._weight, self._eps)


def window(module: Any) -> int | None:
    """Of an attention module; attributes differ between families, and a window may apply to some layers only."""
    if hasattr(module, "sliding_window"):
        found = module.sliding_window
    else:
        found = getattr(module.config, "sliding_window", None) if type(module).__name__ in _CONFIG_WINDOW else None
    return None if found is None else int(found)


def _member(layer: nn.Module, product: Product) -> Member:
    if isinstance(layer, LoraLinear):
        return Member(Frozen(layer.base, product), layer.scaling)
    return Member(Frozen(layer, product), 0.0)


def _half(table_BTD: Tensor, batch: int) -> Tensor:
    """[N, 1, D/2]: transformers gives each angle twice, and one sequence's angles where all are alike."""
    half = table_BTD[..., : table_BTD.shape[-1] // 2]
    return half.expand(batch, -1, -1).reshape(-1, 1, half.shape[-1])
