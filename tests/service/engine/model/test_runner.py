from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adapters.config import LoraConfig
from adapters.weights import load_weights
from base.loader import LoadedBase, LoadOptions, load
from base.source import BaseSource
from service.engine.errors import EngineConfigError, UnsupportedBaseError
from service.engine.lora.fold import fold
from service.engine.lora.routing import Use, Uses
from service.engine.model.batch import Span
from service.engine.model.runner import ModelRunner, Work
from service.engine.request import AdapterSource, EngineConfig

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3", "phi", "phi3")
TOLERANCE = 2e-4
MakeRunner = Callable[..., ModelRunner]


@pytest.fixture(scope="module")
def make_runner() -> MakeRunner:
    def make(folder: Path, quantization: Any = "none", **config: Any) -> ModelRunner:
        base = load(BaseSource("tiny", folder), LoadOptions(device="cpu", quantization=quantization))
        return ModelRunner(base, EngineConfig(**{"page_tokens": 4, "cache_bytes": 1 << 20, **config}))

    return make


def place(runner: ModelRunner, source: AdapterSource) -> Use:
    config = LoraConfig.read(source.folder)
    folded = fold(load_weights(source.folder, config), config, runner.groups, runner.products, torch.float32)
    return Use(runner.slots.write(folded))


def pages_of(sequence: int) -> list[int]:
    """Twelve pages, out of order."""
    return [sequence * 12 + at for at in (7, 2, 9, 0, 11, 4, 1, 8, 3, 10, 5, 6)]


def logits_of(runner: ModelRunner, token_ids: Sequence[int], uses: Uses, chunks: Sequence[int]) -> Tensor:
    """All logits of one sequence, computed in chunks of these sizes."""
    found, start = [], 0
    for size in chunks:
        span = Span(token_ids[start : start + size], start, pages_of(0))
        found.append(runner.run([Work(span, uses, range(size))]))
        start += size
    assert start == len(token_ids)
    return torch.cat(found)


def close(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).abs().max()) < TOLERANCE * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_plain_transformers_at_any_chunking(
    family: str,
    fused: bool,
    family_folder: Callable[[str], Path],
    make_oracle: Callable[[Path], Any],
    make_runner: MakeRunner,
) -> None:
    folder = family_folder(family)
    token_ids = [(7 * at + 3) % 300 for at in range(40)]
    expected = make_oracle(folder).logits(token_ids, None)
    runner = make_runner(folder, fused=fused)
    for chunks in ([40], [1] * 40, [13, 1, 1, 20, 5], [4, 4, 32]):
        assert close(logits_of(runner, token_ids, (), chunks), expected), chunks


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_of_every_kind_mixed_in_one_step_equal_plain_peft(
    family: str,
    fused: bool,
    family_folder: Callable[[str], Path],
    make_oracle: Callable[[Path], Any],
    make_adapters: Callable[[Path], list[AdapterSource]],
    make_runner: MakeRunner,
) -> None:
    folder = family_folder(family)
    oracle, sources = make_oracle(folder), make_adapters(folder)
    runner = make_runner(folder, fused=fused)
    uses: list[Uses] = [(), *((place(runner, source),) for source in sources)]
    folders = [None, *(source.folder for source in sources)]
    order = sorted(range(len(uses)), key=lambda at: [(use.slot.rank, use.slot.index) for use in uses[at]])
    prompts = [[(at * 11 + 5 * token + 2) % 300 for token in range(6 + 2 * at)] for at in range(len(uses))]
    prefill = [Work(Span(prompts[at][:-2], 0, pages_of(at)), uses[at], range(len(prompts[at]) - 2)) for at in order]
    decode = [Work(Span(prompts[at][-2:-1], len(prompts[at]) - 2, pages_of(at)), uses[at], [0]) for at in order]
    mixed = [
        *(Work(Span(prompts[at][-1:], len(prompts[at]) - 1, pages_of(at)), uses[at], [0]) for at in order[:4]),
        *(Work(Span(prompts[at][-2:], len(prompts[at]) - 2, pages_of(at)), uses[at], [0, 1]) for at in order[4:]),
    ]
    by_prefill = runner.run(prefill).split([len(work.wanted) for work in prefill])
    by_decode = runner.run(decode)
    by_mix = runner.run(mixed).split([len(work.wanted) for work in mixed])
    for row, at in enumerate(order):
        expected = oracle.logits(prompts[at], folders[at])
        assert close(by_prefill[row], expected[:-2]), folders[at]
        assert close(by_decode[row], expected[-2]), folders[at]
        assert close(by_mix[row], expected[-len(by_mix[row]) :]), folders[at]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_adapters_on_a_quantised_base_equal_peft_on_the_same_weights(
    quantization: Any,
    tiny_base_folder: Path,
    adapters: list[AdapterSource],
    make_runner: MakeRunner,
) -> None:
    from peft import PeftModel

    token_ids = [(7 * at + 3) % 300 for at in range(20)]
    runner = make_runner(tiny_base_folder, quantization)
    for source in [adapter for adapter in adapters if "dora" not in adapter.digest or quantization == "nf4"]:
        base = load(BaseSource("tiny", tiny_base_folder), LoadOptions(device="cpu", quantization=quantization))
        oracle: nn.Module = base.model
        if quantization == "int8":
            # PEFT knows no int8 layer of ours: it gets the plain layers whose weights they stand for, and the
            # activations' rounding is what remains.
            oracle = _dequantised(base)
        with torch.no_grad():
            expected = PeftModel.from_pretrained(oracle, str(source.folder)).eval()(torch.tensor([token_ids])).logits[0]
        found = logits_of(runner, token_ids, (place(runner, source),), [12, 1, 7])
        limit = 0.1 if quantization == "int8" else TOLERANCE
        assert float((found - expected).abs().max()) < limit * float(expected.abs().max()), source.digest


def _dequantised(base: LoadedBase) -> nn.Module:
    from base.int8 import Int8Linear

    for name, module in list(base.model.named_modules()):
        if isinstance(module, Int8Linear):
            plain = nn.Linear(module.in_features, module.out_features, bias=module.bias is not None)
            plain.weight.data = module.weight
            if module.bias is not None:
                plain.bias.data = module.bias
            parent, _, child = name.rpartition(".")
            setattr(base.model.get_submodule(parent), child, plain)
    return base.model


def test_int8_rows_are_bit_equal_at_any_batch_content(tiny_base_folder: Path, make_runner: MakeRunner) -> None:
    runner = make_runner(tiny_base_folder, "int8", fused=True)
    product = runner.products["model.layers.0.self_attn.q_proj"]
    x = torch.randn(9, 64)
    loud = torch.randn(30, 64) * 1e4
    alone = torch.cat([product(row[None]) for row in x])
    assert torch.equal(product(x), alone)
    assert torch.equal(product(torch.cat([loud, x]))[30:], alone)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_scale_weighs_an_adapter_and_several_are_summed(
    tiny_base_folder: Path, adapters: list[AdapterSource], make_runner: MakeRunner, peft_model: Callable[..., Any]
) -> None:
    first, second = adapters[1], adapters[2]
    merged = peft_model(first.folder)
    merged.load_adapter(str(second.folder), adapter_name="second")
    merged.add_weighted_adapter(["default", "second"], [0.5, 2.0], "both", combination_type="cat")
    merged.set_adapter("both")
    token_ids = [(7 * at + 3) % 300 for at in range(20)]
    with torch.no_grad():
        expected = merged(torch.tensor([token_ids])).logits[0]
    runner = make_runner(tiny_base_folder)
    one, two = place(runner, first).slot, place(runner, second).slot
    uses = (Use(one, 0.5), Use(two, 2.0))
    assert close(logits_of(runner, token_ids, uses, [12, 1, 1, 6]), expected)
    # The same among others in one batched product.
    for start in range(19):
        works = [Work(Span(token_ids[start : start + 1], start, pages_of(at)), uses, [0]) for at in range(2)]
        works.append(Work(Span(token_ids[start : start + 1], start, pages_of(2)), (Use(one),), [0]))
        logits = runner.run(works)
        assert close(logits[:2], expected[[start, start]])


def test_a_model_without_transformers_attention_interface_is_refused(
    tiny_base_folder: Path, monkeypatch: pytest.MonkeyPatch, make_runner: MakeRunner
) -> None:
    from transformers.models.llama import modeling_llama

    def forward(self: Any, hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return self.o_proj(self.q_proj(hidden_states)), None

    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", forward)
    with pytest.raises(UnsupportedBaseError, match="0 of 2 layers"):
        make_runner(tiny_base_folder, fused=False)


def test_a_cache_without_room_for_a_page_is_refused(tiny_base_folder: Path, make_runner: MakeRunner) -> None:
    with pytest.raises(EngineConfigError, match=r"kv_cache_memory_bytes is 100, but one page of 4 tokens takes"):
        make_runner(tiny_base_folder, cache_bytes=100)


def test_a_step_may_want_no_logits(
    tiny_base_folder: Path, make_oracle: Callable[[Path], Any], make_runner: MakeRunner
) -> None:
    runner, token_ids = make_runner(tiny_base_folder), [(7 * at + 3) % 300 for at in range(12)]
    assert len(runner.run([Work(Span(token_ids[:8], 0, pages_of(0)), (), [])])) == 0
    found = runner.run([Work(Span(token_ids[8:], 8, pages_of(0)), (), [3])])
    assert close(found[0], make_oracle(tiny_base_folder).logits(token_ids, None)[-1])


def test_scrubbed_pages_are_clean_and_others_untouched(tiny_base_folder: Path, make_runner: MakeRunner) -> None:
    runner = make_runner(tiny_base_folder)
    for layer in runner.cache.layers:
        layer.fill_(torch.nan)
    runner.scrub([])
    assert all(bool(layer.isnan().all()) for layer in runner.cache.layers)
    runner.scrub([2, 5])
    for layer in runner.cache.layers:
        clean = {at for at, slot in enumerate(layer) if not slot.any()}
        assert clean == {*range(8, 12), *range(20, 24)}


def test_a_model_with_other_keys_and_values_is_refused() -> None:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    settings: dict[str, Any] = {
        **{"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 32, "pad_token_id": 0},
        **{"num_attention_heads": 2, "num_key_value_heads": 2, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8},
        **{"v_head_dim": 16, "kv_lora_rank": 8, "q_lora_rank": 8, "first_k_dense_replace": 1},
    }
    no_tokenizer: Any = None
    base = LoadedBase(
        name="tiny",
        digest="",
        model=DeepseekV3ForCausalLM(DeepseekV3Config(**settings)).eval(),
        tokenizer=no_tokenizer,
        device=torch.device("cpu"),
        dtype=torch.float32,
        quantization="none",
    )
    with pytest.raises(UnsupportedBaseError, match="DeepseekV3ForCausalLM does not run on the paged cache"):
        ModelRunner(base, EngineConfig(cache_bytes=1 << 20))
