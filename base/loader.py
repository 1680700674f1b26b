"""Loads a base, quantised or not: the one loader of training and serving."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from base.digest import base_digest
from base.errors import InvalidBaseError, UnsupportedError
from base.int8 import replace_linears
from base.shapes import head_names, num_parameters
from base.smoothing import smoothing_ids
from base.source import BaseSource

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "int8", "nf4"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PACKING_FLAG = "support_avx512bf16_for_cpu"


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Where and how the weights are held."""

    device: Device = "auto"
    """`auto`: CUDA where there is one, else the CPU."""
    dtype: DType = "auto"
    """`auto`: float32 on the CPU (bfloat16 is slower there), bfloat16 on CUDA."""
    quantization: Quantization = "none"
    """Of the linear layers, the output head left out. nf4 uses double quantisation."""


@dataclass(frozen=True, kw_only=True)
class LoadedBase:
    """A frozen base in memory, in evaluation mode."""

    name: str
    digest: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    quantization: Quantization

    @property
    def context_tokens(self) -> int:
        """The longest sequence, prompt and completion together, in tokens."""
        config = self.model.config.get_text_config()
        most = int(config.max_position_embeddings)
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":
            # Past the original length transformers rotates all positions of a pass by other factors, so that one long
            # sequence would change its neighbours'.
            return min(most, int(rope.get("original_max_position_embeddings", most)))
        return most

    @property
    def num_parameters(self) -> int:
        """Weights of the base as trained, however they are stored."""
        return num_parameters(self.model)


def load(source: BaseSource, options: LoadOptions) -> LoadedBase:
    """Loads the base in `source`.

    Raises:
        UnsupportedError: this machine lacks the device, or the device cannot hold that dtype.
        InvalidBaseError: transformers cannot read the folder.
    """
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    digest = base_digest(source.folder)
    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
        model = _load_model(source, device, dtype, options.quantization)
        if options.quantization == "int8" and device.type == "cpu":
            replace_linears(model, keep=head_names(model), token_ids=smoothing_ids(tokenizer))
    return LoadedBase(
        name=source.name,
        digest=digest,
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        quantization=options.quantization,
    )


def load_tokenizer(source: BaseSource) -> PreTrainedTokenizerBase:
    """The tokenizer alone, for checking data without the weights."""
    with quiet_loading():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.folder)
    return tokenizer


def resolve_device(device: Device) -> torch.device:
    """The device that `device` stands for on this machine.

    Raises:
        UnsupportedError: CUDA is asked for and absent.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("device cuda: torch sees no CUDA device here; use --device cpu or auto")
    return torch.device(device)


def resolve_dtype(dtype: DType, device: torch.device) -> torch.dtype:
    """The dtype that `dtype` stands for on `device`.

    Raises:
        UnsupportedError: float16 on the CPU, where its range loses gradients and its kernels are slow.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype == "float16" and device.type == "cpu":
        raise UnsupportedError("dtype float16 on cpu: use float32 (fastest there) or bfloat16")
    return _DTYPES[dtype]


def _load_model(
    source: BaseSource, device: torch.device, dtype: torch.dtype, quantization: Quantization
) -> PreTrainedModel:
    in_bitsandbytes = quantization == "nf4" or (quantization == "int8" and device.type == "cuda")
    extra: dict[str, Any] = {"quantization_config": _bitsandbytes(quantization, dtype)} if in_bitsandbytes else {}
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.folder, dtype=dtype, device_map={"": str(device)}, output_loading_info=True, **extra
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InvalidBaseError(f"transformers cannot load {source.folder}: {error}") from error
    model: PreTrainedModel
    model, info = loaded
    if info["missing_keys"]:
        # transformers would go on with random weights in their place.
        missing = sorted(info["missing_keys"])
        raise InvalidBaseError(f"{source.folder} lacks {len(missing)} weights of its model, such as {missing[0]}")
    _forbid_packing(model)
    model.requires_grad_(requires_grad=False)
    model.eval()
    return model


def _bitsandbytes(quantization: Quantization, dtype: torch.dtype) -> BitsAndBytesConfig:
    if quantization == "int8":
        # Threshold 0: no outlier columns, whose choice would depend on what else is in the batch.
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _forbid_packing(model: nn.Module) -> None:
    # On CPUs with avx512_bf16, Linear4bit repacks its weight in place at the first forward in evaluation mode and
    # from then on uses a kernel without autograd: gradients after an evaluation are silently wrong, and dequantising
    # a packed weight gives another matrix. Without this flag it keeps the plain layout and the differentiable path.
    for module in model.modules():
        if hasattr(module, _PACKING_FLAG):
            setattr(module, _PACKING_FLAG, False)


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Within it the libraries' progress bars and remarks do not land between our own lines; errors come through."""
    quieted = [logging.getLogger("bitsandbytes"), logging.getLogger("accelerate")]
    levels = [logger.level for logger in quieted]
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    for logger in quieted:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
        for logger, level in zip(quieted, levels, strict=True):
            logger.setLevel(level)
