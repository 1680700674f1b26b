from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, Gemma3TextConfig, Qwen2Config

from service.engine.cache.store import CacheShape, CacheStore
from service.engine.errors import UnsupportedBaseError
from service.engine.model.attention import PagedAttention, install
from service.engine.model.batch import Span, StepBatch

CPU = torch.device("cpu")
HEADS, KV_HEADS, DIM, PAGE = 6, 2, 8, 4
SCALE = 0.3


@dataclass
class Sequence:
    """One sequence, and all that it ever passed in."""

    pages: list[int]
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class Model:
    """Attention beside a naive one, which keeps every sequence apart."""

    def __init__(self, *, joined: bool) -> None:
        self.cache = CacheStore(CacheShape(2, KV_HEADS, DIM, PAGE), 1 << 16, torch.float32, CPU)
        self.attention = PagedAttention(self.cache)
        self.joined = joined
        self.random = torch.Generator().manual_seed(3)

    def step(self, work: list[tuple[Sequence, int]], window: int | None) -> None:
        """Computes so many more tokens of each sequence in both layers, and compares the second."""
        spans = [Span([0] * count, len(sequence.keys), sequence.pages) for sequence, count in work]
        self.attention.begin(StepBatch(spans, PAGE, CPU))
        num_tokens = sum(count for _, count in work)
        q_THD, k_TKD, v_TKD = (self._randn(num_tokens, heads) for heads in (HEADS, KV_HEADS, KV_HEADS))
        # What another layer caches must not matter.
        self.attention.attend(0, -q_THD, (-k_TKD, -v_TKD), SCALE, window)
        kv = torch.stack([k_TKD, v_TKD], dim=1) if self.joined else (k_TKD, v_TKD)
        found = self.attention.attend(1, q_THD, kv, SCALE, window)
        assert self.attention.num_calls == 2
        row = 0
        for sequence, count in work:
            for _ in range(count):
                sequence.keys.append(k_TKD[row])
                sequence.values.append(v_TKD[row])
                torch.testing.assert_close(found[row], naive(q_THD[row], sequence, window), rtol=1e-4, atol=1e-5)
                row += 1

    def _randn(self, num_tokens: int, heads: int) -> Tensor:
        return torch.randn(num_tokens, heads, DIM, generator=self.random)


def naive(q_HD: Tensor, sequence: Sequence, window: int | None) -> Tensor:
    """Of the last token."""
    first = 0 if window is None else max(0, len(sequence.keys) - window)
    k_CHD, v_CHD = (
        torch.stack(each[first:]).repeat_interleave(HEADS // KV_HEADS, dim=1)
        for each in (sequence.keys, sequence.values)
    )
    scores_HC = torch.einsum("hd,chd->hc", q_HD, k_CHD) * SCALE
    return torch.einsum("hc,chd->hd", scores_HC.softmax(dim=1), v_CHD)


@pytest.mark.parametrize("joined", [True, False], ids=["one tensor", "keys and values apart"])
@pytest.mark.parametrize("window", [None, 1, 3, 6, 100])
def test_each_sequence_attends_to_its_own_tokens_at_any_chunking(window: int | None, joined: bool) -> None:
    model = Model(joined=joined)
    first, second, third = Sequence([5, 0, 9, 2]), Sequence([7, 1, 3]), Sequence([4, 8, 6])
    # What others have in their pages must never be met, not even masked.
    others = [page for page in range(model.cache.num_pages) if page not in {*first.pages, *second.pages, *third.pages}]
    for layer in model.cache.layers:
        layer.view(model.cache.num_pages, -1)[others] = torch.nan
    model.step([(first, 5)], window)
    model.step([(first, 1), (second, 7)], window)
    model.step([(first, 3), (second, 2)], window)
    model.step([(first, 1), (second, 1), (third, 1)], window)
    model.step([(second, 1), (first, 1), (third, 4)], window)
    model.step([(third, 1), (first, 5)], window)


def test_pages_that_change_owner_keep_nothing_of_the_former() -> None:
    model = Model(joined=True)
    model.step([(Sequence([2, 5]), 8)], None)
    model.step([(Sequence([5, 2]), 3), (Sequence([0]), 2)], None)
    late = Sequence([2, 5])
    model.step([(late, 1)], None)
    model.step([(late, 1)], None)


def test_a_model_with_soft_capped_scores_is_refused() -> None:
    config = Gemma2Config(
        hidden_size=18, intermediate_size=16, num_hidden_layers=1, num_attention_heads=HEADS, head_dim=DIM,
        num_key_value_heads=KV_HEADS, vocab_size=32, attn_logit_softcapping=5.0, pad_token_id=0,
    )  # fmt: skip
    cache = CacheStore(CacheShape.of(config, PAGE), 1 << 16, torch.float32, CPU)
    attention, model = PagedAttention(cache), Gemma2ForCausalLM(config).eval()
    install(model, model.config, attention)
    attention.begin(StepBatch([Span([1], 0, [0])], PAGE, CPU))
    with pytest.raises(UnsupportedBaseError, match="Gemma2Attention asks for softcap"):
        model(input_ids=torch.tensor([[1]]), position_ids=torch.tensor([[0]]), use_cache=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Gemma3TextConfig(use_bidirectional_attention=True), "see those after them"),
        (Qwen2Config(layer_types=["full_attention", "chunked_attention"], num_hidden_layers=2), "chunked_attention"),
        (Qwen2Config(layer_types=["linear_attention"], num_hidden_layers=1), "linear_attention"),
    ],
)
def test_a_model_that_looks_elsewhere_is_refused(config: Any, message: str) -> None:
    cache = CacheStore(CacheShape(1, KV_HEADS, DIM, PAGE), 1 << 16, torch.float32, CPU)
    with pytest.raises(UnsupportedBaseError, match=message):
        install(torch.nn.Module(), config, PagedAttention(cache))


def test_two_models_in_one_process_have_their_own_caches(tiny_base_folder: Path) -> None:
    found = []
    for _ in range(2):
        model: Any = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.float32).eval()
        cache = CacheStore(CacheShape.of(model.config, PAGE), 1 << 16, torch.float32, CPU)
        attention = PagedAttention(cache)
        install(model, model.config, attention)
        found.append((model, attention, cache))
    (model, attention, cache), (_, other, untouched) = found
    attention.begin(StepBatch([Span([5, 6], 0, [0])], PAGE, CPU))
    with torch.inference_mode():
        model(input_ids=torch.tensor([[5, 6]]), position_ids=torch.tensor([[0, 1]]), use_cache=False)
    assert (attention.num_calls, other.num_calls) == (2, 0)
    assert all(bool(layer[:2].all(dim=(1, 2, 3)).all()) for layer in cache.layers)
    assert not any(bool(layer.any()) for layer in untouched.layers)


def test_every_family_attends_through_the_cache(
    family_folder: Callable[[str], Path],
) -> None:
    for family in ("phi", "gemma3"):
        model: Any = AutoModelForCausalLM.from_pretrained(family_folder(family), dtype=torch.float32).eval()
        attention = PagedAttention(CacheStore(CacheShape.of(model.config, PAGE), 1 << 16, torch.float32, CPU))
        install(model, model.config, attention)
        attention.begin(StepBatch([Span([5], 0, [0])], PAGE, CPU))
        model(input_ids=torch.tensor([[5]]), position_ids=torch.tensor([[0]]), use_cache=False)
        assert attention.num_calls == model.config.num_hidden_layers
