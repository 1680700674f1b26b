"""How much memory a training run takes at its peak, from shapes alone. Every formula about memory is here.

The peak is reached at the beginning of a backward pass, when nothing saved has been released yet:

    peak = resident + weights + mapped file + converting + (adapter + saved activations + logits + working space) * heap

**weights.** `none`: 4 or 2 bytes a weight. nf4 with double quantisation (arXiv:2305.14314): half a byte, one byte of
scale for 64 weights and 4 bytes for 256 scales; int8: one byte, and 4 bytes of scale a row. The output head, the
embedding and the norms are never quantised.

**mapped file.** On the CPU a weight that is held as it is stored is a page of its file, mapped into memory. Where the
linear layers are quantised their pages stay mapped beside the quantised copy, as long as one weight of the file is in
use: the kernel may take them back, but they count as resident.

**converting.** int8 on the CPU is made layer by layer through float32. What that needed lies between the int8 matrices
on the heap and is not given back: up to a float32 copy of the linear layers.

**heap.** glibc keeps freed blocks of less than 32 MiB, and a later pass, whose tensors have other sizes, does not fit
into all of them: after the first steps the process is larger than what lives in it. `_HEAP_SPREAD`, on the CPU; CUDA's
allocator is counted without.

**adapter.** Its weights, their gradients and AdamW's two moments, float32 each, and one more copy that the update works
with: 20 bytes a weight; 14 where the moments have 8 bits. PiSSA and OLoRA also hold what the matrices began as, and
join the two for each pass: twice the rank in the low-rank products, 12 bytes a weight more.

**saved activations.** What autograd keeps of one decoder layer for one token, in elements of the base's dtype, with h
hidden, n the inputs of its norms (2 h in Llama), q query heads times head size, k key heads times head size, i
intermediate, r rank and m adapted modules of it:

    norms keep their inputs, the projections after them theirs               n + 2 h
    attention keeps query, key, value and its output                         2 q + 2 k
    the gated MLP keeps gate and up                                          2 i
    each adapted module keeps its low-rank product                           m r

Where modules are transformers' own (`training.layers.fused` knows the family not) keys and values are spread over the
query heads, attention's output is copied, and the MLP keeps two more of its width: n + 2 h + 5 q + 4 i + m r. A frozen
linear keeps nothing itself: its input's gradient needs the weight only. With activation checkpointing each layer's
input is kept, and one layer's whole at a time.

**attention mask.** Fused attention needs none. Otherwise rows packed into one sequence, or padded ones, need tokens
squared elements, which each layer keeps.

**logits.** At labelled positions only, in float32, in chunks of `_CHUNK_BYTES`, of which logits, probabilities and a
copy exist at once; beside them the gradient of the hidden states. Where the model is called as a whole: all of them.

**working space.** Gradients of one layer's activations while they are passed on, and with activation checkpointing what
that layer has just computed again; the largest matrix of a quantised base, dequantised and transposed.
"""

from dataclasses import dataclass
from typing import Literal

from service.preflight.shape import ModelShape, Targets, adapter_parameters, targeted_layers

Quantization = Literal["none", "int8", "nf4"]

FUSED_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3")
"""transformers' model types whose layers `training.layers.fused` computes."""
ADAPTER_FILE_BYTES = 4
"""A weight as published: float32."""
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
_OPTIMIZER_BYTES = {False: 20, True: 14}
_START_BYTES = 4 + 8
_HEAP_SPREAD = 1.6
"""Measured (docs/results.md): 1.2 after two steps, 1.5 after dozens whose passes are of different lengths."""
_CHUNK_BYTES = 32 << 20
_LOGIT_COPIES = 3


@dataclass(frozen=True, kw_only=True)
class MemoryRequest:
    """What memory depends on besides the base."""

    quantization: Quantization
    dtype_bytes: int
    """Of the base's dtype: 4 for float32, 2 for bfloat16."""
    rank: int
    targets: Targets = "all-linear"
    dora: bool = False
    keeps_start: bool = False
    """PiSSA and OLoRA: what the matrices began as is held, and multiplied beside them."""
    eight_bit_moments: bool = False
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass."""
    pass_tokens: int
    """Tokens of the largest pass, padding included."""
    pass_labelled: int
    """Labelled tokens of the largest pass."""
    mask_elements: int = 0
    """Of one mask of the largest pass, where attention needs one."""
    resident_bytes: int = 0
    """What the process holds already: Python, torch and the rest."""
    on_cpu: bool = False


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """The parts of the peak, in bytes."""

    resident_bytes: int
    weights_bytes: int
    """As they are held; on the CPU with what stays of the file and of the conversion."""
    adapter_bytes: int
    """Adapter, gradients and optimizer state."""
    activations_bytes: int
    logits_bytes: int
    working_bytes: int

    @property
    def total_bytes(self) -> int:
        """The peak."""
        held = self.resident_bytes + self.weights_bytes + self.adapter_bytes
        return held + self.activations_bytes + self.logits_bytes + self.working_bytes


def peak_memory(shape: ModelShape, request: MemoryRequest) -> MemoryEstimate:
    """Estimate the peak of a run; see the module for the derivation."""
    largest = max((rows * columns for rows, columns in shape.linear.values()), default=0)
    dequantised = 0 if request.quantization == "none" else 2 * largest
    layers = 2 if request.checkpointing else 1
    one_layer = layers * request.pass_tokens * layer_elements(shape, request)
    bytes_of_adapter_weight = _OPTIMIZER_BYTES[request.eight_bit_moments] + _START_BYTES * request.keeps_start
    spread = _HEAP_SPREAD if request.on_cpu else 1.0
    weights = weights_bytes(shape, request.quantization, request.dtype_bytes)
    num_adapter = adapter_parameters(shape, request.rank, request.targets, dora=request.dora)
    return MemoryEstimate(
        resident_bytes=request.resident_bytes,
        weights_bytes=weights + (_left_by_loading(shape, request) if request.on_cpu else 0),
        adapter_bytes=round(spread * bytes_of_adapter_weight * num_adapter),
        activations_bytes=round(spread * saved_bytes(shape, request)),
        logits_bytes=round(spread * _logits_bytes(shape, request)),
        working_bytes=round(spread * (one_layer + dequantised) * request.dtype_bytes),
    )


def weights_bytes(shape: ModelShape, quantization: Quantization, dtype_bytes: int) -> int:
    """Count the bytes of the base's weights as they are held."""
    linear = shape.linear_parameters
    rest = (shape.num_parameters - linear) * dtype_bytes
    if quantization == "nf4":
        return rest + round(linear * _NF4_BYTES)
    if quantization == "int8":
        return rest + linear + 4 * sum(rows for rows, _ in shape.linear.values())
    return rest + linear * dtype_bytes


def _left_by_loading(shape: ModelShape, request: MemoryRequest) -> int:
    """Count what the weights' file and their conversion leave in the process beside the weights."""
    if request.quantization == "none":
        return 0
    mapped = shape.linear_parameters * shape.stored_dtype_bytes
    return mapped + (4 * shape.linear_parameters if request.quantization == "int8" else 0)


def saved_bytes(shape: ModelShape, request: MemoryRequest) -> int:
    """Count the bytes that autograd keeps in the decoder's layers for one pass."""
    if request.checkpointing:
        elements = request.pass_tokens * shape.hidden_size
    else:
        mask = 0 if is_fused(shape) else request.mask_elements
        elements = request.pass_tokens * layer_elements(shape, request) + mask
    return shape.num_layers * elements * request.dtype_bytes


def layer_elements(shape: ModelShape, request: MemoryRequest) -> int:
    """Count the elements kept of one layer for one token."""
    joined = 2 if request.keeps_start else 1
    low_rank = joined * request.rank * len(targeted_layers(shape, request.targets)) // shape.num_layers
    inputs = shape.norm_size + 2 * shape.hidden_size
    if is_fused(shape):
        attention = 2 * shape.attention_size + 2 * shape.key_size
        return inputs + attention + 2 * shape.intermediate_size + low_rank
    return inputs + 5 * shape.attention_size + 4 * shape.intermediate_size + low_rank


def is_fused(shape: ModelShape) -> bool:
    """Whether training computes this architecture's layers with functions of its own."""
    return shape.model_type in FUSED_FAMILIES or shape.model_type == "gemma3_text"


def _logits_bytes(shape: ModelShape, request: MemoryRequest) -> int:
    whole = 4 * request.pass_labelled * shape.vocabulary_size
    at_once = min(whole, _CHUNK_BYTES) if is_fused(shape) else whole
    return _LOGIT_COPIES * at_once + request.pass_labelled * shape.hidden_size * request.dtype_bytes
