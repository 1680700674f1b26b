import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest

from service.errors import ExportError
from service.export.gguf.export import GgufDType, export_gguf
from service.export.gguf.families import family_of
from service.export.gguf.vocabulary import read_vocabulary
from service.export.material import Material
from service.export.parity import Parity

GEMMA: dict[str, Any] = {
    "model_type": "gemma3_text",
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "head_dim": 16,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
}


def export(material: Material, output: Path, dtype: GgufDType = "f32") -> Parity:
    return export_gguf(material, output, dtype, "cpu", lambda _line: None)


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("kind", [{}, {"dora": True, "targets": ("q_proj", "down_proj")}])
def test_transformers_reads_the_file_back_and_answers_as_the_adapter(
    make_adapter: Callable[..., Path],
    material: Callable[..., Material],
    tmp_path: Path,
    dtype: GgufDType,
    kind: dict[str, Any],
) -> None:
    parity = export(material(make_adapter(tmp_path / "adapter", seed=9, **kind)), tmp_path / "model.gguf", dtype)
    assert parity.same_tokens + parity.ties == parity.tokens == 64
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["blk.1.ffn_down.weight"] == dtype.upper()
    assert types["blk.0.attn_norm.weight"] == "F32"
    assert "output.weight" not in types
    assert reader.fields["lorad.adapter"].contents() == "support:1"
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"


def test_a_file_that_answers_otherwise_is_refused_and_removed(
    make_adapter: Callable[..., Path],
    material: Callable[..., Material],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = material(make_adapter(tmp_path / "adapter", seed=9))
    original = given.merged.read
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(given.merged, "read", lambda name: original(name) * (1.5 if "up_proj" in name else 1))
    with pytest.raises(ExportError, match="does not answer as the adapter"):
        export(given, tmp_path / "there" / "model.gguf")
    assert not list((tmp_path / "there").iterdir())


def test_another_family_is_refused_with_those_that_can_be_written(
    make_adapter: Callable[..., Path],
    material: Callable[..., Material],
    family_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    base = family_folder("qwen2")
    given = material(make_adapter(tmp_path / "adapter", seed=9, base=base), base)
    with pytest.raises(ExportError, match=r"type 'qwen2'.*supported types: llama, gemma3_text"):
        export(given, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_gemma_3_as_llama_cpp_knows_it_is_taken() -> None:
    assert family_of(GEMMA).architecture == gguf.MODEL_ARCH.GEMMA3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_types": ["full_attention"] * 7}, "every sixth layer"),
        ({"query_pre_attn_scalar": 99}, "head's size"),
        ({"attn_logit_softcapping": 50.0}, "cap"),
        (
            {
                "rope_parameters": {
                    **GEMMA["rope_parameters"],
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                }
            },
            "positions are scaled",
        ),
        (
            {"rope_parameters": {**GEMMA["rope_parameters"], "sliding_attention": {"rope_theta": 5e4}}},
            "theta 10000 only",
        ),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}},
            r"positions are scaled \(rope_type llama3\)",
        ),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        family_of({**GEMMA, **changes})


def spoiled(base: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(base, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_a_vocabulary_is_padded_with_texts_of_their_own(tiny_base_folder: Path) -> None:
    vocabulary = read_vocabulary(tiny_base_folder, 400)
    assert len(vocabulary.tokens) == len(set(vocabulary.tokens)) == 400
    assert vocabulary.tokens[399] == "[PAD399]"
    assert vocabulary.types[399] == gguf.TokenType.UNUSED
    assert vocabulary.types[vocabulary.tokens.index("<|im_end|>")] == gguf.TokenType.CONTROL


def test_a_sentencepiece_vocabulary_gets_scores_in_the_order_of_its_merges(
    tiny_base_folder: Path, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        content["model"] = {
            "type": "BPE", "byte_fallback": True, "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x41>": 1, "a": 2, "b": 3, "ab": 4, "abb": 5, "\u2581\u2581": 6},
            "merges": [["a", "b"], ["ab", "b"]],
        }  # fmt: skip
        content["added_tokens"] = [{"id": 6, "content": "\u2581\u2581", "special": False, "normalized": False}]

    vocabulary = read_vocabulary(spoiled(tiny_base_folder, tmp_path / "base", change), 7)
    assert (vocabulary.model, vocabulary.pre, vocabulary.space_prefix) == ("llama", "default", False)
    assert vocabulary.merges is None
    assert vocabulary.scores == [-2.0, -2.0, -2.0, -2.0, 0.0, -1.0, -1000.0]
    kinds = [gguf.TokenType(kind).name for kind in vocabulary.types]
    assert kinds == ["UNKNOWN", "BYTE", "NORMAL", "NORMAL", "NORMAL", "NORMAL", "USER_DEFINED"]
    assert vocabulary.tokens[6] == "  "


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"normalizer": {"type": "NFC"}}, "not known to follow"),
        ({"model": {"type": "Unigram", "vocab": []}}, "Unigram"),
    ],
)
def test_a_tokenizer_that_llama_cpp_may_not_follow_is_refused(
    tiny_base_folder: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = spoiled(tiny_base_folder, tmp_path / "base", lambda content: content.update(change))
    with pytest.raises(ExportError, match=message):
        read_vocabulary(folder, 400)
