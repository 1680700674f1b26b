"""Which keys of PEFT's `adapter_config.json` lorad understands, ignores or refuses (peft 0.21).

Read as fields: `config.py`. Inert: no effect on inference, accepted at PEFT's default. Free: no effect at any value.
Everything else must be null, false or empty, because a key with a value may change what the adapter computes.
"""

import re
from typing import Any, Final

from adapters.errors import InvalidAdapterError, nearest

READ: Final = frozenset(
    {
        "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "base_model_name_or_path",
    }
)  # fmt: skip
"""Keys that become fields of `LoraConfig`."""

FREE: Final = frozenset({"peft_version", "revision", "inference_mode", "eva_config"})
"""Provenance, and settings of an initialisation that leaves the base as it is."""

INERT: Final[dict[str, Any]] = {"megatron_core": "megatron.core", "qalora_group_size": 16}
"""Non-empty defaults that PEFT writes into every file, of features that are off."""

_CHANGES_OUTPUT = "it changes what the adapter computes, which is not supported"
UNSUPPORTED: Final = {
    "alora_invocation_tokens": "activated LoRA applies to part of a prompt, which is not supported",
    "arrow_config": "routing between adapters is not supported",
    "auto_mapping": "it names Python code to import, which is never done",
    "corda_config": "CorDA changes the base: convert the adapter to plain LoRA with PEFT first",
    "ensure_weight_tying": "tied modules are not supported",
    "fan_in_fan_out": "transposed (Conv1D) layers are not supported",
    "kasa_config": _CHANGES_OUTPUT,
    "layer_replication": "it changes the base's layers, which are shared by every adapter",
    "loftq_config": "LoftQ changes the base: convert the adapter to plain LoRA with PEFT first",
    "lora_bias": "a bias in lora_B is not supported: train with lora_bias=False",
    "lora_ga_config": "LoRA-GA changes the base: convert the adapter to plain LoRA with PEFT first",
    "megatron_config": "Megatron layers are not supported",
    "modules_to_save": "whole trained modules are not supported: train LoRA weights only",
    "monteclora_config": _CHANGES_OUTPUT,
    "target_parameters": "LoRA on bare parameters is not supported: target linear modules",
    "trainable_token_indices": "trained token embeddings are not supported",
    "use_bdlora": "block-diagonal LoRA is not supported",
    "use_qalora": "QALoRA pools its input, which is not supported",
    "velora_config": _CHANGES_OUTPUT,
}
"""Known keys that must be off, and why."""

_REQUIRED: Final = {"peft_type": ("LORA",), "task_type": ("CAUSAL_LM", None), "bias": ("none",)}
_PLAIN_INITIALISATIONS: Final = (True, False, None, "gaussian", "orthogonal", "eva")
_BASE_CHANGING = re.compile(r"(?i)(pissa(_niter_\d+)?|olora|loftq|corda|lora_ga|mica)")

_KNOWN = READ | FREE | INERT.keys() | UNSUPPORTED.keys() | _REQUIRED.keys() | {"init_lora_weights"}


def check_keys(values: dict[str, Any]) -> None:
    """Refuse a PEFT configuration that means more than plain LoRA on linear layers.

    Raises:
        InvalidAdapterError: names the key, its value and the reason.
    """
    for key, value in values.items():
        if key in _REQUIRED:
            _check_required(key, value)
        elif key == "init_lora_weights":
            _check_initialisation(value)
        elif key not in READ and key not in FREE and not _is_off(value) and not _is_inert(key, value):
            raise InvalidAdapterError(f"adapter_config.json: {key} = {_shown(value)}: {_reason(key)}")
    if "peft_type" not in values:
        raise InvalidAdapterError("adapter_config.json has no peft_type: is it a PEFT configuration? It must be 'LORA'")


def _is_off(value: Any) -> bool:
    """Null, false or empty. Zero is a value: `0 == False` must not let it pass."""
    return value is None or value is False or value in ("", [], {})


def _is_inert(key: str, value: Any) -> bool:
    return key in INERT and type(value) is type(INERT[key]) and value == INERT[key]


def _check_required(key: str, value: Any) -> None:
    allowed = _REQUIRED[key]
    if value not in allowed:
        raise InvalidAdapterError(f"adapter_config.json: {key} = {_shown(value)}, but only {allowed[0]!r} is supported")


def _check_initialisation(value: Any) -> None:
    if isinstance(value, str) and _BASE_CHANGING.fullmatch(value):
        raise InvalidAdapterError(
            f"adapter_config.json: init_lora_weights = {value[:40]!r} changes or depends on the base's weights: save "
            "with path_initial_model_for_weight_conversion, which converts the adapter to plain LoRA"
        )
    if not isinstance(value, bool | str | None) or value not in _PLAIN_INITIALISATIONS:
        raise InvalidAdapterError(
            f"adapter_config.json: init_lora_weights = {_shown(value)} is not supported: use true"
        )


def _reason(key: str) -> str:
    if key in UNSUPPORTED:
        return UNSUPPORTED[key]
    if key in INERT:
        return f"only PEFT's default {INERT[key]!r} is accepted, because the feature it belongs to is not supported"
    close = nearest(key, _KNOWN)
    hint = f" (nearest known key: {close[0]!r})" if close else ""
    return f"an unknown key{hint} may change what the adapter computes: remove it, or set it to null"


def _shown(value: Any) -> str:
    return repr(value)[:80]
