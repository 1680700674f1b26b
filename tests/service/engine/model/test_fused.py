"""Beyond the families of the runner's tests: what a configuration of a listed class may turn on."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
import transformers
from torch import Tensor

from base.loader import LoadedBase
from service.engine.model.batch import Span
from service.engine.model.fused import ATTENTION, MLP, NORMS, FusedAttention, FusedMlp, FusedNorm
from service.engine.model.operations import TorchOperations
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import EngineConfig

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 300,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 32},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}
LOCAL = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "biases everywhere": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "one key-value head": ("Llama", {"num_key_value_heads": 1}),
    "no shared heads": ("Llama", {"num_key_value_heads": 4}),
    "heads wider than the hidden size": ("Llama", {"head_dim": 32}),
    "llama3 rotation": ("Llama", {"rope_parameters": LLAMA3}),
    "yarn rotation": ("Qwen3", {"head_dim": 16, "rope_parameters": YARN}),
    "other activation": ("Llama", {"hidden_act": "gelu"}),
    "windows in the upper layers": ("Qwen2", LOCAL),
    "windows and head norms": ("Qwen3", {"head_dim": 16, **LOCAL}),
    "no window": ("Mistral", {"sliding_window": None}),
    "a head norm's epsilon": ("Qwen3", {"head_dim": 16, "rms_norm_eps": 0.1}),
    "another query scale": ("Gemma3", {"head_dim": 16, "query_pre_attn_scalar": 3, "sliding_window": 7}),
    "capped logits": ("Gemma3", {"head_dim": 16, "final_logit_softcapping": 3.0, "sliding_window": 7}),
}


@dataclass(frozen=True)
class Pair:
    """A model as it is, and a runner on a copy of it."""

    model: Any
    runner: ModelRunner

    def logits(self, token_ids: Sequence[int], chunks: Sequence[int]) -> Tensor:
        """Of the runner, chunk by chunk."""
        found, start = [], 0
        for size in chunks:
            span = Span(token_ids[start : start + size], start, list(range(12))[::-1])
            found.append(self.runner.run([Work(span, (), range(size))]))
            start += size
        return torch.cat(found)


@pytest.fixture(scope="module")
def make_pair() -> Callable[..., Pair]:
    def make(family: str, *, fused: bool = True, dtype: torch.dtype = torch.float32, **settings: Any) -> Pair:
        kind = getattr(transformers, f"{family}ForCausalLM")
        models, no_tokenizer = [], cast(Any, None)
        for _ in range(2):
            torch.manual_seed(11)
            model = kind(kind.config_class(**{**SIZES, **settings})).eval().requires_grad_(requires_grad=False)
            for name, parameter in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    parameter.add_(0.3 * torch.randn_like(parameter))
            models.append(model.to(dtype))
        base = LoadedBase(
            name="tiny",
            digest="",
            model=models[1],
            tokenizer=no_tokenizer,
            device=torch.device("cpu"),
            dtype=dtype,
            quantization="none",
        )
        return Pair(models[0], ModelRunner(base, EngineConfig(page_tokens=4, cache_bytes=1 << 20, fused=fused)))

    return make


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_fused_modules_give_the_logits_of_those_they_replace(
    configuration: str, make_pair: Callable[..., Pair]
) -> None:
    family, settings = CONFIGURATIONS[configuration]
    pair = make_pair(family, **settings)
    kinds = [type(module) for module in pair.runner._model.modules()]
    assert (kinds.count(FusedAttention), kinds.count(FusedMlp)) == (3, 3)
    token_ids = [(7 * at + 3) % 300 for at in range(40)]
    expected = pair.model(torch.tensor([token_ids])).logits[0]
    for chunks in ([40], [13, 1, 1, 20, 5]):
        torch.testing.assert_close(pair.logits(token_ids, chunks), expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Gemma3"])
def test_bfloat16_is_as_near_to_float32_as_transformers_is(
    family: str, fused: bool, make_pair: Callable[..., Pair]
) -> None:
    pair = make_pair(family, head_dim=16, fused=fused, dtype=torch.bfloat16)
    token_ids = [(7 * at + 3) % 300 for at in range(24)]
    theirs = pair.model(torch.tensor([token_ids])).logits[0].float()
    exact = pair.model.float()(torch.tensor([token_ids])).logits[0]
    ours = pair.logits(token_ids, [16, 1, 7])
    assert float((ours - exact).square().mean()) < 1.5 * float((theirs - exact).square().mean())


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_those_they_replace(name: str) -> None:
    module = importlib.import_module(f"transformers.models.{_family(name)}.modeling_{_family(name)}")
    original = getattr(module, name)(24, eps=1e-3)
    original.weight.data = torch.randn(24)
    x = torch.randn(2, 3, 24) * torch.tensor([1e-2, 1.0, 1e3])[:, None]
    torch.testing.assert_close(FusedNorm(original, NORMS[name], TorchOperations())(x), original(x))


@pytest.mark.parametrize("name", sorted(ATTENTION | MLP))
def test_every_listed_class_exists(name: str) -> None:
    module = importlib.import_module(f"transformers.models.{_family(name)}.modeling_{_family(name)}")
    assert hasattr(module, name)


def _family(name: str) -> str:
    return next(
        family for family in ("llama", "mistral", "qwen2", "qwen3", "gemma3") if name.lower().startswith(family)
    )
