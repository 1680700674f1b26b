"""The architectures that can be written, with what llama.cpp fixes in its code and the file cannot say.

Keys and tensors are those of llama.cpp's own converter, https://github.com/ggml-org/llama.cpp (`conversion/llama.py`,
`conversion/gemma.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import gguf
from torch import Tensor

from service.errors import ExportError

Config = Mapping[str, Any]
_GEMMA3_PERIOD: Final = 6
"""In llama.cpp every sixth layer of a Gemma 3 attends to everything."""
_GEMMA3_LOCAL_THETA: Final = 10_000.0


@dataclass(frozen=True)
class Family:
    """How one `model_type` of transformers becomes one architecture of GGUF."""

    architecture: gguf.MODEL_ARCH
    add_keys: Callable[[gguf.GGUFWriter, Config], None]
    convert: Callable[[str, Tensor, Config], Tensor]
    """A tensor of the transformers model, by name, as llama.cpp holds it."""
    refuse: Callable[[Config], str | None]
    """What llama.cpp would compute otherwise than the base does, or None."""


def family_of(config: Config) -> Family:
    """The family of a base.

    Raises:
        ExportError: it cannot be written; names those that can.
    """
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise ExportError(
            f"a base of type {kind!r} cannot be written as GGUF; supported types: {', '.join(FAMILIES)}. "
            "Export with --format merged, and convert that folder with llama.cpp's own script"
        )
    family = FAMILIES[kind]
    reason = family.refuse(config)
    if reason is not None:
        raise ExportError(f"this base cannot be written as GGUF: {reason}. Export with --format merged")
    return family


def _add_common(writer: gguf.GGUFWriter, config: Config) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config.get("num_key_value_heads") or config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))


def _add_llama(writer: gguf.GGUFWriter, config: Config) -> None:
    _add_common(writer, config)
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_rope_freq_base(_rope(config)["rope_theta"])


def _add_gemma3(writer: gguf.GGUFWriter, config: Config) -> None:
    _add_common(writer, config)
    writer.add_rope_freq_base(_rope(config)["full_attention"]["rope_theta"])
    writer.add_sliding_window(config["sliding_window"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def _convert_llama(name: str, tensor: Tensor, config: Config) -> Tensor:
    """Rows of q and k are reordered: llama.cpp rotates neighbouring pairs, transformers the two halves of a head."""
    heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config.get("num_key_value_heads") or config["num_attention_heads"],
    }
    num_heads = next((count for part, count in heads.items() if f".{part}." in name), None)
    if num_heads is None:
        return tensor
    halves = tensor.reshape(num_heads, 2, tensor.shape[0] // num_heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _convert_gemma3(name: str, tensor: Tensor, _config: Config) -> Tensor:
    # transformers multiplies by one plus the weight of a norm.
    return tensor + 1 if name.endswith("norm.weight") else tensor


def _refuse_llama(config: Config) -> str | None:
    kind = _rope(config).get("rope_type", "default")
    if kind != "default":
        return f"its positions are scaled (rope_type {kind})"
    return None


def _refuse_gemma3(config: Config) -> str | None:
    rope = _rope(config)
    if set(rope) != {"full_attention", "sliding_attention"}:
        return "its configuration does not say how each kind of layer rotates positions"
    if any(part.get("rope_type", "default") != "default" for part in rope.values()):
        return "its positions are scaled"
    if rope["sliding_attention"]["rope_theta"] != _GEMMA3_LOCAL_THETA:
        return f"llama.cpp rotates sliding layers by theta {_GEMMA3_LOCAL_THETA:g} only"
    wanted = [
        "full_attention" if (at + 1) % _GEMMA3_PERIOD == 0 else "sliding_attention" for at in range(_layers(config))
    ]
    if list(config.get("layer_types") or wanted) != wanted:
        return "llama.cpp knows Gemma 3 only with every sixth layer attending to everything"
    if config.get("query_pre_attn_scalar") not in (None, _head_dim(config)):
        return "llama.cpp scales attention by the head's size only"
    if config.get("attn_logit_softcapping"):
        return "llama.cpp does not cap Gemma 3's attention logits"
    return None


def _rope(config: Config) -> dict[str, Any]:
    if config.get("rope_parameters"):
        return dict(config["rope_parameters"])
    # As transformers 4 wrote it.
    scaling = dict(config.get("rope_scaling") or {})
    scaling.setdefault("rope_type", scaling.pop("type", "default"))
    if config.get("model_type") == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": config.get("rope_local_base_freq", _GEMMA3_LOCAL_THETA)}
        return {
            "full_attention": {**scaling, "rope_theta": config.get("rope_theta", 1e6)},
            "sliding_attention": local,
        }
    return {"rope_theta": config.get("rope_theta", 10_000.0), **scaling}


def _layers(config: Config) -> int:
    return int(config["num_hidden_layers"])


def _head_dim(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


FAMILIES: Final[Mapping[str, Family]] = {
    "llama": Family(gguf.MODEL_ARCH.LLAMA, _add_llama, _convert_llama, _refuse_llama),
    "gemma3_text": Family(gguf.MODEL_ARCH.GEMMA3, _add_gemma3, _convert_gemma3, _refuse_gemma3),
}
"""By transformers' `model_type`."""
