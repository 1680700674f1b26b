"""The identity of a base: one SHA-256 over its weights, vocabulary and architecture.

Two folders with the same digest give the same logits for the same token ids, whatever their file layout,
shard sizes or the version of transformers that wrote them. Dtype as stored is part of it; quantisation at load is not.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import InvalidBaseError

CACHE_NAME = ".lorad-digest.json"

ARCHITECTURE_KEYS = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "hidden_act",
    "hidden_activation",
    "rms_norm_eps",
    "layer_norm_eps",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "partial_rotary_factor",
    "sliding_window",
    "layer_types",
    "query_pre_attn_scalar",
    "final_logit_softcapping",
    "attn_logit_softcapping",
)


@dataclass(frozen=True)
class _StoredTensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int


def base_digest(folder: Path) -> str:
    """Returns `sha256:<hex>` of the base in `folder`.

    The result is kept beside the weights and reused while sizes and modification times stand; a folder that
    cannot be written is hashed each time.

    Raises:
        InvalidBaseError: a weights file or the configuration cannot be read.
    """
    cache = folder / CACHE_NAME
    fingerprint = _fingerprint(folder)
    cached = _read_cache(cache)
    if cached.get("fingerprint") == fingerprint:
        return str(cached["digest"])
    digest = f"sha256:{_hash_base(folder)}"
    _write_cache(cache, {"fingerprint": fingerprint, "digest": digest})
    return digest


def _hash_base(folder: Path) -> str:
    total = hashlib.sha256()
    for tensor in sorted(_stored_tensors(folder), key=lambda stored: stored.name):
        total.update(_line(tensor.name, tensor.dtype, list(tensor.shape), _hash_range(tensor)))
    total.update(_line("vocabulary", _vocabulary(folder)))
    total.update(_line("architecture", architecture(folder)))
    return total.hexdigest()


def _line(*parts: object) -> bytes:
    return json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _stored_tensors(folder: Path) -> Iterator[_StoredTensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidBaseError(f"{folder} holds no *.safetensors weights")
    for file in files:
        try:
            with file.open("rb") as stream:
                (header_bytes,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(header_bytes))
        except (OSError, ValueError, struct.error, OverflowError, MemoryError) as error:
            raise InvalidBaseError(f"{file} is not a readable safetensors file: {error}") from error
        origin = 8 + header_bytes
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                yield _StoredTensor(name, entry["dtype"], tuple(entry["shape"]), file, origin + start, origin + end)


def _hash_range(tensor: _StoredTensor) -> str:
    with (
        tensor.file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        view[tensor.start : tensor.end] as data,
    ):
        return hashlib.sha256(data).hexdigest()


def _vocabulary(folder: Path) -> object:
    tokenizer = folder / "tokenizer.json"
    if tokenizer.is_file():
        model = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]
        return _hash_json([model.get("vocab"), model.get("merges")])
    sentencepiece = folder / "tokenizer.model"
    if sentencepiece.is_file():
        return hashlib.sha256(sentencepiece.read_bytes()).hexdigest()
    raise InvalidBaseError(f"{folder} holds neither tokenizer.json nor tokenizer.model")


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def architecture(folder: Path) -> dict[str, Any]:
    """The configuration keys that change what the weights compute, in one spelling for every transformers version."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidBaseError(f"{folder / 'config.json'} cannot be read: {error}") from error
    keys = {key: config[key] for key in ARCHITECTURE_KEYS if config.get(key) is not None}
    return {**keys, "rope": _rope(config)}


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    # transformers 5 writes rope_parameters; version 4 wrote rope_theta and rope_scaling.
    if config.get("rope_parameters"):
        return dict(config["rope_parameters"])
    scaling = dict(config.get("rope_scaling") or {})
    scaling.setdefault("rope_type", scaling.pop("type", "default"))
    if config.get("rope_theta") is not None:
        scaling["rope_theta"] = config["rope_theta"]
    return scaling


def _fingerprint(folder: Path) -> list[list[object]]:
    names = ["config.json", "tokenizer.json", "tokenizer.model", *(file.name for file in folder.glob("*.safetensors"))]
    stats = [(name, (folder / name).stat()) for name in sorted(names) if (folder / name).is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _read_cache(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(path: Path, content: dict[str, Any]) -> None:
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        staged.write_text(json.dumps(content), encoding="utf-8")
        os.replace(staged, path)
    except OSError:
        staged.unlink(missing_ok=True)
