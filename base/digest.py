"""The identity of a base: one SHA-256 over its weights, vocabulary and architecture.

Two folders with the same digest give the same logits for the same token ids, whatever their file layout,
shard sizes or the version of transformers that wrote them. Dtype as stored is part of it; quantisation at load is not.
"""

import contextlib
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
_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_DEFAULT_ROPE_THETA = 10_000.0
_SCHEME = 1
"""Raised whenever the same folder would get another digest: a cached one from before must not be believed."""

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
    "use_sliding_window",
    "max_window_layers",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
    "logit_scale",
    "num_experts_per_tok",
    "norm_topk_prob",
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
    files = weight_files(folder)
    if not files:
        raise InvalidBaseError(f"{folder} holds no *.safetensors weights")
    for file in files:
        try:
            yield from _tensors_of(file)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error, OverflowError) as error:
            raise InvalidBaseError(f"{file} is not a readable safetensors file: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """What transformers would load: some folders carry the same weights a second time under another name.

    Raises:
        InvalidBaseError: the index of several files cannot be read.
    """
    if (folder / _INDEX).is_file():
        shards = _read_json(folder / _INDEX).get("weight_map", {})
        return [folder / name for name in sorted(set(shards.values()))]
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    return sorted(folder.glob("*.safetensors"))


def _tensors_of(file: Path) -> Iterator[_StoredTensor]:
    size_bytes = file.stat().st_size
    with file.open("rb") as stream:
        (header_bytes,) = struct.unpack("<Q", stream.read(8))
        if header_bytes > size_bytes:
            raise ValueError("its header is longer than the file")
        header = json.loads(stream.read(header_bytes))
    origin = 8 + header_bytes
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            if origin + end > size_bytes:
                raise ValueError(f"it was cut short: tensor {name} ends beyond the file")
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
        model = _read_json(tokenizer).get("model") or {}
        # Older tokenizers wrote a merge as one text, "a b"; newer ones as a pair.
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model.get("merges") or ()]
        return _hash_json([model.get("vocab"), merges])
    sentencepiece = folder / "tokenizer.model"
    if sentencepiece.is_file():
        return hashlib.sha256(sentencepiece.read_bytes()).hexdigest()
    raise InvalidBaseError(f"{folder} holds neither tokenizer.json nor tokenizer.model")


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def architecture(folder: Path) -> dict[str, Any]:
    """The configuration keys that change what the weights compute, in one spelling for every transformers version."""
    config = _read_json(folder / "config.json")
    # A key that is absent means the same as one that says no: newer versions write what older ones left out.
    keys = {key: config[key] for key in ARCHITECTURE_KEYS if config.get(key) not in (None, False)}
    if keys.get("head_dim") == keys.get("hidden_size", 0) // keys.get("num_attention_heads", 1):
        del keys["head_dim"]
    if set(keys.get("layer_types", ())) == {"full_attention"}:
        del keys["layer_types"]
    return {**keys, "rope": _rope(config)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidBaseError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InvalidBaseError(f"{path} cannot be read: it holds no JSON object")
    return content


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    # transformers 5 writes rope_parameters; version 4 wrote rope_theta and rope_scaling.
    if config.get("rope_parameters"):
        parameters = dict(config["rope_parameters"])
        # Models with two kinds of attention have one entry for each.
        return parameters if any(isinstance(value, dict) for value in parameters.values()) else _with_theta(parameters)
    scaling = dict(config.get("rope_scaling") or {})
    scaling.setdefault("rope_type", scaling.pop("type", "default"))
    if config.get("rope_theta") is not None:
        scaling["rope_theta"] = config["rope_theta"]
    return _with_theta(scaling)


def _with_theta(rope: dict[str, Any]) -> dict[str, Any]:
    # Older versions left the default out, and wrote whole numbers where newer ones write floats.
    return {**rope, "rope_theta": float(rope.get("rope_theta", _DEFAULT_ROPE_THETA))}


def _fingerprint(folder: Path) -> list[list[object]]:
    weights = [file.name for file in folder.glob("*.safetensors")]
    names = ["config.json", "tokenizer.json", "tokenizer.model", _INDEX, *weights]
    stats = [(name, (folder / name).stat()) for name in sorted(names) if (folder / name).is_file()]
    return [["scheme", _SCHEME, 0], *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]


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
        # On a read-only mount even removing what is not there fails.
        with contextlib.suppress(OSError):
            staged.unlink()
