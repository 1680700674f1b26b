import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import xgrammar
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from service.engine.request import Grammar, SamplingParams
from service.engine.sampling.grammar import GrammarCompiler, GrammarLimits
from service.engine.sampling.matcher import Matcher
from service.engine.sampling.sampler import sample
from service.engine.sampling.state import SamplingState

END = 0
"""The tiny tokenizer's end of text."""


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_base_folder: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_base_folder)
    assert loaded.eos_token_id == END
    return loaded


@pytest.fixture(scope="session")
def compiler(tiny_tokenizer: PreTrainedTokenizerBase) -> Iterator[GrammarCompiler]:
    limits = GrammarLimits(text_characters=20_000, depth=20, seconds=0.5)
    made = GrammarCompiler(tiny_tokenizer, len(tiny_tokenizer), frozenset([END]), limits)
    yield made
    made.close()


@pytest.fixture(scope="session")
def compile_grammar(compiler: GrammarCompiler) -> Callable[[Grammar], xgrammar.CompiledGrammar]:
    return lambda grammar: compiler.compile(grammar).result(timeout=60)


@pytest.fixture(scope="session")
def write() -> Callable[..., tuple[str, bool]]:
    """`write(tokenizer, compiled, seed, max_tokens=…, **params)`: what a model with random logits would answer."""

    def write(
        tokenizer: PreTrainedTokenizerBase,
        compiled: xgrammar.CompiledGrammar,
        seed: int,
        max_tokens: int = 400,
        **params: float,
    ) -> tuple[str, bool]:
        size, end = compiled.tokenizer_info.vocab_size, int(tokenizer.eos_token_id)
        sampling = SamplingParams(max_tokens=max_tokens, seed=seed, **{"temperature": 1.0, **params})  # type: ignore[arg-type]
        state = SamplingState(sampling, (), (end,), size, Matcher(compiled, (end,)))
        generator = torch.Generator().manual_seed(seed)
        token_ids: list[int] = []
        while len(token_ids) < max_tokens and not state.ended:
            (choice,) = sample(torch.randn(1, size, generator=generator) * 2, [state])
            assert not choice.failed, state.failure
            state.accept(choice.token_id)
            token_ids.append(choice.token_id)
        text = tokenizer.decode(token_ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text, state.ended

    return write


@pytest.fixture(scope="session")
def record_schema() -> str:
    return json.dumps(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 8},
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
                "inner": {"$ref": "#/$defs/inner"},
            },
            "required": ["name", "age", "tags", "inner"],
            "additionalProperties": False,
            "$defs": {"inner": {"type": ["boolean", "null"]}},
        }
    )
