"""Steps, tokens, memory and time of a run, from token counts and shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpus.tokens import RowTokens
from service.preflight.auto import MEMORY_SHARE
from service.preflight.machine import MachineMemory
from service.preflight.memory import ADAPTER_FILE_BYTES, MemoryEstimate, MemoryRequest, Quantization, peak_memory
from service.preflight.shape import ModelShape, adapter_parameters
from training.config import TrainingConfig
from training.rows.parts import parts_of

MIN_PACK_TOKENS = 256
_SMALLER: dict[Quantization, tuple[Quantization, ...]] = {"none": ("int8", "nf4"), "int8": ("nf4",), "nf4": ()}


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The settings of a run that its cost depends on."""

    config: TrainingConfig
    quantization: Quantization
    dtype_bytes: int
    on_cpu: bool = False

    def with_config(self, **changes: object) -> "RunPlan":
        """The same run with other training settings."""
        return replace(self, config=self.config.model_copy(update=changes))


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change with which a run would fit."""

    change: str
    """The flags to give."""
    needs_bytes: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run would cost."""

    steps_per_epoch: int
    steps: int
    """Optimizer steps of the whole run."""
    epoch_tokens: int
    """Of one epoch, of preference pairs both sides."""
    epoch_labelled_tokens: int
    tokens: int
    """Trained in the whole run."""
    labelled_tokens: int
    memory: MemoryEstimate
    needs_bytes: int
    """The peak: the sum of `memory`."""
    free_bytes: int
    fits: bool
    """Within the share of the free memory that a run may plan with."""
    remedies: tuple[Remedy, ...]
    """Where it does not fit: the mildest changes with which it would."""
    adapter_bytes: int
    """Size of the published weights."""


def estimate(shape: ModelShape, plan: RunPlan, rows: Sequence[RowTokens], machine: MachineMemory) -> Estimate:
    """Estimate a run over `rows`, at least one.

    Args:
        shape: The base.
        plan: The run's settings.
        rows: Token counts of each row.
        machine: The memory there is.
    """
    config = plan.config
    rows_per_step = config.batch_size * config.gradient_accumulation
    rows_per_epoch = sum(part.num_drawn for part in parts_of(rows))
    per_epoch = math.ceil(rows_per_epoch / rows_per_step)
    steps = max(1, round(config.epochs * per_epoch))
    steps = steps if config.max_steps is None else min(steps, config.max_steps)
    whole, rest = divmod(steps, per_epoch)
    # The last step of an epoch may be smaller than the others.
    epochs = whole + rest * rows_per_step / rows_per_epoch
    epoch_tokens = sum(row.weight * row.kept for row in rows)
    epoch_labelled = sum(row.weight * row.kept_labelled for row in rows)
    memory = peak_memory(shape, memory_request(plan, rows, machine))
    fits = memory.total_bytes <= MEMORY_SHARE * machine.free_bytes
    return Estimate(
        steps_per_epoch=per_epoch,
        steps=steps,
        epoch_tokens=round(epoch_tokens),
        epoch_labelled_tokens=round(epoch_labelled),
        tokens=round(epochs * epoch_tokens),
        labelled_tokens=round(epochs * epoch_labelled),
        memory=memory,
        needs_bytes=memory.total_bytes,
        free_bytes=machine.free_bytes,
        fits=fits,
        remedies=() if fits else remedies(shape, plan, rows, machine),
        adapter_bytes=ADAPTER_FILE_BYTES
        * adapter_parameters(shape, config.published_rank, config.target_modules, dora=config.dora),
    )


def memory_request(plan: RunPlan, rows: Sequence[RowTokens], machine: MachineMemory) -> MemoryRequest:
    """Describe the largest pass that a step could make: the longest rows together."""
    config = plan.config
    rows_per_pass = config.batch_size * (config.gradient_accumulation if config.layout == "packed" else 1)
    longest = sorted((row.kept for row in rows), reverse=True)[:rows_per_pass]
    if config.layout == "packed":
        tokens = min(sum(longest), max(config.pack_tokens, longest[0]))
        mask = tokens**2
    else:
        tokens = longest[0] * len(longest)
        mask = longest[0] ** 2 * len(longest)
    labelled = sum(row.kept_labelled for row in rows) / sum(row.kept for row in rows)
    return MemoryRequest(
        quantization=plan.quantization,
        dtype_bytes=plan.dtype_bytes,
        rank=config.rank,
        targets=config.target_modules,
        dora=config.dora,
        keeps_start=config.init != "default",
        eight_bit_moments=config.optimizer != "adamw",
        checkpointing=config.activation_checkpointing,
        pass_tokens=tokens,
        pass_labelled=math.ceil(tokens * labelled),
        mask_elements=mask,
        resident_bytes=machine.resident_bytes,
        on_cpu=plan.on_cpu,
    )


def remedies(shape: ModelShape, plan: RunPlan, rows: Sequence[RowTokens], machine: MachineMemory) -> tuple[Remedy, ...]:
    """Try smaller passes, activation checkpointing and smaller weights, and keep the mildest of each that fits.

    Where none is enough alone, all of them together are tried.
    """
    room = MEMORY_SHARE * machine.free_bytes

    def first_fit(tried: Sequence[tuple[str, RunPlan]]) -> list[Remedy]:
        for change, other in tried:
            needs = peak_memory(shape, memory_request(other, rows, machine)).total_bytes
            if needs <= room:
                return [Remedy(change=change, needs_bytes=needs)]
        return []

    passes = _smaller_passes(plan)
    again = [("--activation-checkpointing", plan.with_config(activation_checkpointing=True))]
    weights = [(f"--quantization {kind}", replace(plan, quantization=kind)) for kind in _SMALLER[plan.quantization]]
    alone = [*first_fit(passes), *first_fit(again), *first_fit(weights)]
    if alone:
        return tuple(alone)
    together = [
        (f"{first} {second} --activation-checkpointing", replace(smaller, quantization=lighter.quantization))
        for first, smaller in passes or [("", plan)]
        for second, lighter in weights or [("", plan)]
    ]
    return tuple(first_fit([(" ".join(c.split()), p.with_config(activation_checkpointing=True)) for c, p in together]))


def _smaller_passes(plan: RunPlan) -> list[tuple[str, RunPlan]]:
    if plan.config.layout == "packed":
        most, least, flag, name = plan.config.pack_tokens, MIN_PACK_TOKENS, "--pack-tokens", "pack_tokens"
    else:
        most, least, flag, name = plan.config.batch_size, 1, "--batch-size", "batch_size"
    sizes = [most // 2**halvings for halvings in range(1, most.bit_length()) if most // 2**halvings >= least]
    return [(f"{flag} {size}", plan.with_config(**{name: size})) for size in sizes]
