"""Attention over the paged cache, as a function that transformers' models call in place of their own.

Shape legend: T tokens of the step, B decoding rows, N tokens of one span, C tokens of its context, H query heads, K
key-value heads, G = H / K, D head dimension, L tokens of the gathered pages.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from service.engine.cache.store import CacheStore
from service.engine.errors import UnsupportedBaseError
from service.engine.model.batch import DecodeTables, DecodeView, Prefill, Step, StepBatch

IMPLEMENTATION = "lorad_paged"
"""The name under which transformers finds it."""
_UNKNOWN = ("softcap", "s_aux")
"""What some models ask of their attention beyond queries, keys, values, scaling and window."""
_LAYER_TYPES = {"full_attention", "sliding_attention"}


class Decode(Protocol):
    """Attention of single tokens to their sequences' pages, as one kernel."""

    def __call__(
        self,
        q_BHD: Tensor,
        cache_S2KD: Tensor,
        tables_BP: Tensor,
        lengths_B: Tensor,
        scale: float,
        page_tokens: int,
        window: int | None = None,
    ) -> Tensor:
        """[B, H, D]; a row of length 0 gives zeros."""
        ...


class PagedAttention:
    """Writes the step's keys and values into the cache and attends to what each sequence has there.

    Args:
        cache: where.
        kernel: for single tokens; without it they are gathered and padded.
        short_span: how many pairs of a token and one that it sees the kernel does as fast as a call for the span.
    """

    def __init__(self, cache: CacheStore, kernel: Decode | None = None, short_span: int = 0) -> None:
        self._cache = cache
        self._kernel = kernel
        self._short_span = short_span
        self._by_token = False
        self._step: Step | None = None
        self.num_calls = 0

    def begin(self, step: Step) -> None:
        """The tokens of the forward pass that follows."""
        self._step = step
        self._by_token = (
            isinstance(step, StepBatch) and not step.has_branches and 0 < step.work_of_spans <= self._short_span
        )
        self.num_calls = 0

    def attend(
        self, layer: int, q_THD: Tensor, kv_T2KD: tuple[Tensor, Tensor] | Tensor, scale: float, window: int | None
    ) -> Tensor:
        """[T, H, D]; `kv_T2KD` is one tensor, or keys and values [T, K, D] where they lie apart."""
        assert self._step is not None
        self.num_calls += 1
        step, cache_S2KD = self._step, self._cache.layers[layer]
        if isinstance(kv_T2KD, Tensor):
            cache_S2KD.index_copy_(0, step.slots_T, kv_T2KD)
            k_TKD, v_TKD = kv_T2KD.unbind(1)
        else:
            k_TKD, v_TKD = kv_T2KD
            cache_S2KD[:, 0].index_copy_(0, step.slots_T, k_TKD)
            cache_S2KD[:, 1].index_copy_(0, step.slots_T, v_TKD)
        if self._by_token:
            assert isinstance(step, StepBatch)
            return self._by_kernel(step.token_tables, q_THD, cache_S2KD, scale, window)
        if step.num_decode == len(q_THD):
            return self._decode(step, q_THD, cache_S2KD, scale, window)
        out_THD = torch.empty_like(q_THD, memory_format=torch.contiguous_format)
        if step.num_decode:
            out_THD[: step.num_decode] = self._decode(step, q_THD[: step.num_decode], cache_S2KD, scale, window)
        for prefill in step.prefills:
            rows = prefill.rows
            own = (k_TKD[rows], v_TKD[rows])
            out_THD[rows] = _attend_span(prefill, q_THD[rows], own, cache_S2KD, scale, window)
        return out_THD

    def _decode(self, step: Step, q_BHD: Tensor, cache_S2KD: Tensor, scale: float, window: int | None) -> Tensor:
        if self._kernel is None:
            assert isinstance(step, StepBatch), "fixed inputs are for the kernel"
            return self._gathered(step.decode_view(window, q_BHD.dtype), q_BHD, cache_S2KD, scale)
        return self._by_kernel(step.decode_tables, q_BHD, cache_S2KD, scale, window)

    def _by_kernel(
        self, tables: DecodeTables, q_BHD: Tensor, cache_S2KD: Tensor, scale: float, window: int | None
    ) -> Tensor:
        assert self._kernel is not None
        where = (tables.tables_BP, tables.lengths_B)
        return self._kernel(q_BHD, cache_S2KD, *where, scale, self._cache.page_tokens, window)

    def _gathered(self, view: DecodeView, q_BHD: Tensor, cache_S2KD: Tensor, scale: float) -> Tensor:
        num_rows = len(view.tables_BP)
        pages = cache_S2KD.view(len(cache_S2KD) // self._cache.page_tokens, -1)
        _, _, num_kv, dim = cache_S2KD.shape
        kv_BL2KD = pages.index_select(0, view.tables_BP.flatten()).view(num_rows, -1, 2, num_kv, dim)
        k_BKLD, v_BKLD = kv_BL2KD.permute(2, 0, 3, 1, 4)
        # The query heads of one key-value head take the place of query positions: nothing is repeated.
        q_BKGD = q_BHD.view(num_rows, num_kv, -1, dim)
        mask = view.mask_B11L.expand(-1, -1, q_BKGD.shape[2], -1)
        out_BKGD = functional.scaled_dot_product_attention(q_BKGD, k_BKLD, v_BKLD, attn_mask=mask, scale=scale)
        return out_BKGD.reshape(num_rows, -1, dim)


def _attend_span(
    prefill: Prefill,
    q_NHD: Tensor,
    own: tuple[Tensor, Tensor],
    cache_S2KD: Tensor,
    scale: float,
    window: int | None,
) -> Tensor:
    k_CKD, v_CKD = own if prefill.start == 0 else cache_S2KD.index_select(0, prefill.slots_C).unbind(1)
    mask_NC = prefill.mask_NC(window, q_NHD.dtype)
    out_1HND = functional.scaled_dot_product_attention(
        q_NHD.transpose(0, 1)[None],
        k_CKD.transpose(0, 1)[None],
        v_CKD.transpose(0, 1)[None],
        attn_mask=mask_NC,
        is_causal=mask_NC is None,
        scale=scale,
        enable_gqa=True,
    )
    return out_1HND[0].transpose(0, 1)


def install(model: nn.Module, config: Any, attention: PagedAttention) -> None:
    """Makes `model` call `attention` in every layer.

    Raises:
        UnsupportedBaseError: its tokens see others than those before them, all or a window of the last.
    """
    _refuse_other_sight(config)
    AttentionInterface.register(IMPLEMENTATION, _from_transformers)
    config._attn_implementation = IMPLEMENTATION
    for module in model.modules():
        if hasattr(module, "layer_idx"):
            module.lorad_paged = attention  # type: ignore[assignment]


def _refuse_other_sight(config: Any) -> None:
    """Such models say it only through the mask, which is not looked at."""
    if getattr(config, "use_bidirectional_attention", False) is True:
        raise UnsupportedBaseError("the base's tokens see those after them (use_bidirectional_attention)")
    if others := sorted(set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES):
        raise UnsupportedBaseError(f"the base has layers of type {others[0]}, which the paged attention lacks")


def _from_transformers(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The signature that transformers' models call: [1, heads, T, D] in, [1, T, heads, D] out."""
    del attention_mask
    if asked := [name for name in _UNKNOWN if others.get(name) is not None]:
        raise UnsupportedBaseError(f"{type(module).__name__} asks for {asked[0]}, which the paged attention lacks")
    q_THD, k_TKD, v_TKD = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    scale = q_THD.shape[-1] ** -0.5 if scaling is None else scaling
    out_THD = module.lorad_paged.attend(module.layer_idx, q_THD.contiguous(), (k_TKD, v_TKD), scale, sliding_window)
    return out_THD[None], None
