import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from base.digest import CACHE_NAME, base_digest
from base.errors import InvalidBaseError

ChangeJson = Callable[..., None]


@pytest.fixture
def digest(tiny_base_folder: Path) -> str:
    return base_digest(tiny_base_folder)


def change_weight(folder: Path, name: str = "model.layers.1.self_attn.q_proj.weight") -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[name][0, 0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_digest_says_its_algorithm(digest: str) -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)


def test_shards_and_the_version_that_wrote_them_do_not_matter(
    folder: Path, digest: str, change_json: ChangeJson
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    change_json(folder / "config.json", transformers_version="4.40.0")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert base_digest(folder) == digest


def test_a_second_copy_of_the_weights_that_nothing_loads_does_not_matter(folder: Path, digest: str) -> None:
    (folder / "consolidated.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert base_digest(folder) == digest


def test_what_older_versions_left_out_of_the_configuration_does_not_matter(
    folder: Path, digest: str, change_json: ChangeJson
) -> None:
    change_json(
        folder / "config.json",
        rope_parameters=None,
        rope_theta=10000,
        head_dim=None,
        mlp_bias=None,
        attention_bias=None,
    )
    assert base_digest(folder) == digest
    change_json(folder / "config.json", rope_theta=None)
    assert base_digest(folder) == digest


def test_merges_written_as_texts_are_the_same_merges(folder: Path, digest: str, change_json: ChangeJson) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    assert isinstance(model["merges"][0], list)
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    change_json(folder / "tokenizer.json", model=model)
    assert base_digest(folder) == digest


def test_one_changed_weight_is_another_base(folder: Path, digest: str) -> None:
    change_weight(folder)
    assert base_digest(folder) != digest


def test_another_vocabulary_is_another_base(folder: Path, digest: str, change_json: ChangeJson) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    first, second, *_ = (token for token in model["vocab"] if not token.startswith("<|"))
    model["vocab"][first], model["vocab"][second] = model["vocab"][second], model["vocab"][first]
    change_json(folder / "tokenizer.json", model=model)
    assert base_digest(folder) != digest


@pytest.mark.parametrize(
    "change",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        {"rms_norm_eps": 1e-4},
        {"num_attention_heads": 8},
        {"hidden_act": "gelu"},
    ],
)
def test_another_architecture_is_another_base(
    folder: Path, digest: str, change_json: ChangeJson, change: dict[str, object]
) -> None:
    change_json(folder / "config.json", **change)
    assert base_digest(folder) != digest


def test_a_cached_digest_is_taken_while_the_files_stand(folder: Path) -> None:
    base_digest(folder)
    cache = json.loads((folder / CACHE_NAME).read_text())
    (folder / CACHE_NAME).write_text(json.dumps({**cache, "digest": "sha256:cached"}))
    assert base_digest(folder) == "sha256:cached"


def test_a_cached_digest_is_made_anew_when_a_file_changes(folder: Path) -> None:
    before = base_digest(folder)
    change_weight(folder)
    assert base_digest(folder) != before


@pytest.mark.parametrize("content", ["", "[]", "{", '{"fingerprint": null}'])
def test_a_damaged_cache_is_ignored(folder: Path, digest: str, content: str) -> None:
    (folder / CACHE_NAME).write_text(content)
    assert base_digest(folder) == digest


def test_a_folder_that_cannot_be_written_is_hashed_each_time(
    folder: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / CACHE_NAME).unlink(missing_ok=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert base_digest(folder) == digest
    assert not (folder / CACHE_NAME).exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 32),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0[]"),
        ("model.safetensors", b'\x09\0\0\0\0\0\0\0{"a": {}}'),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("tokenizer.json", b"nothing"),
        ("model.safetensors.index.json", b"[]"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidBaseError, match=re.escape(name)):
        base_digest(folder)


def test_weights_that_were_cut_short_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(InvalidBaseError, match="cut short"):
        base_digest(folder)


@pytest.mark.parametrize(("name", "what"), [("model.safetensors", "weights"), ("tokenizer.json", "tokenizer.json")])
def test_a_file_that_is_missing_is_named(folder: Path, name: str, what: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidBaseError, match=what):
        base_digest(folder)
