"""A base's model with trainable low-rank layers in it: what an objective computes with."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.config import TrainingConfig
from training.layers import fused
from training.layers.frozen import Frozen
from training.layers.lora import LoraLinear, adapters_off, inject, remove
from training.layers.products import Product, create_product

_CAUSAL = frozenset(f"{family}ForCausalLM" for family in fused.FAMILIES)
"""Models that are a decoder and a linear head, with nothing done to the logits."""


class Network:
    """The model of one base with one adapter's layers; `close` gives the model back as it was.

    Args:
        model: frozen, in evaluation mode.
        config: of the adapter, and whether activations are computed again rather than kept.

    Raises:
        ConfigError: a target matches no linear module.
    """

    def __init__(self, model: Any, config: TrainingConfig) -> None:
        self.model = model
        self.layers: dict[str, LoraLinear] = inject(model, config)
        product = create_product(self.model.device, self.model.dtype)
        self.head = _frozen_head(self.model, product)
        """The output head, where nothing but its product stands between hidden states and logits; else nothing, and
        the model is to be called as a whole."""
        # Fused attention looks at no mask: it may only be called through `hidden`.
        self._replaced = _fuse(self.model, product, attention=self.head is not None)
        self._checkpointed = config.activation_checkpointing
        if self._checkpointed:
            self.model.activation_checkpointing_enable()

    def close(self) -> None:
        """Takes the layers, and all else that was changed, out of the model."""
        if self._checkpointed:
            self.model.activation_checkpointing_disable()
        for module in self._replaced:
            del module.forward
        remove(self.model, self.layers)
        self.model.eval()

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {
            f"{module}.{name}": parameter
            for module, layer in self.layers.items()
            for name, parameter in layer.named_parameters(recurse=False)
        }

    @contextlib.contextmanager
    def adapters_off(self) -> Iterator[None]:
        """Within it the network is the untouched base."""
        with adapters_off(self.layers):
            yield

    def hidden(self, input_ids_RT: Tensor, position_ids_RT: Tensor, row_lengths: Sequence[int] | None) -> Tensor:
        """[R, T, C], what the head reads; only where `head` is there.

        Args:
            input_ids_RT: the tokens.
            position_ids_RT: their places.
            row_lengths: of rows that lie end to end in one sequence.
        """
        # A mask of four dimensions goes through transformers unread, and the fused attention needs none.
        unread = torch.empty(1, 1, 1, 1, device=input_ids_RT.device)
        out: Tensor = self.model.get_decoder()(
            input_ids=input_ids_RT,
            attention_mask=unread,
            position_ids=position_ids_RT,
            use_cache=False,
            row_lengths=row_lengths,
        ).last_hidden_state
        return out


def _frozen_head(model: Any, product: Product) -> Frozen | None:
    head = model.get_output_embeddings()
    plain = type(model).__name__ in _CAUSAL and type(head) is nn.Linear and not head.weight.requires_grad
    capped = getattr(model.config.get_text_config(), "final_logit_softcapping", None) is not None
    fusible = all(_is_fusible(module) for module in model.modules() if type(module).__name__.endswith("Attention"))
    return Frozen(head, product) if plain and not capped and fusible else None


def _is_fusible(attention: Any) -> bool:
    capped = getattr(attention, "attn_logit_softcapping", None) is not None
    return type(attention).__name__ in fused.ATTENTION and attention.is_causal and not capped


def _fuse(model: Any, product: Product, *, attention: bool) -> list[nn.Module]:
    """Puts fused functions in place of the `forward` of the modules that are known; returns those."""
    replaced: list[nn.Module] = []
    for module in model.modules():
        forward = _fused_forward(module, product, attention=attention)
        if forward is not None:
            module.forward = forward
            replaced.append(module)
    return replaced


def _fused_forward(module: Any, product: Product, *, attention: bool) -> Any:
    kind = type(module).__name__
    if kind in fused.NORMS:
        return fused.FusedNorm(module, fused.NORMS[kind])
    if kind in fused.MLP:
        activation = getattr(module.config, "hidden_activation", None) or getattr(module.config, "hidden_act", None)
        return fused.FusedMlp(module, activation, product) if activation in fused.ACTIVATIONS else None
    return fused.FusedAttention(module, product) if attention and kind in fused.ATTENTION else None
