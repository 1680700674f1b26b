"""Settings that may be left to lorad, each with the reason for what was chosen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.config import AskedConfig, TrainingConfig

LORA_RATE = 5e-4
"""5e-5, usual for all weights, times 10 for LoRA."""
_EXPONENTS = {"qwen": 0.0775, "llama": 0.781}
"""By family, fitted over model sizes (Thinking Machines' tinker-cookbook, `hyperparam_utils.get_lr`)."""
_CAUTIOUS = "qwen"
"""The family whose rates move least with size, for families nobody has fitted."""
MAX_BATCH = 16
"""LoRA loses more than full training does from larger batches (Schulman and others, LoRA Without Regret, 2025)."""
MIN_STEPS_PER_EPOCH = 32
"""A batch that leaves fewer steps hardly learns from a small set."""
MEMORY_SHARE = 0.9
"""Of the free memory that a run may plan with: the estimate is not exact, and other processes breathe."""


@dataclass(frozen=True, kw_only=True)
class AutoChoice:
    """One value that was left to lorad."""

    name: str
    """The setting: `learning_rate`, `batch_size`."""
    value: float | int
    reason: str
    """One sentence with the figures it follows from."""


@dataclass(frozen=True, kw_only=True)
class AutoFacts:
    """What the choices depend on."""

    model_type: str
    hidden_size: int
    num_rows: int
    """Of an epoch."""
    accumulation: int = 1
    """Batches of one optimizer step."""
    peak_bytes: Callable[[int], int]
    """Estimated peak of a run with that batch size."""
    free_bytes: int


def choose(facts: AutoFacts) -> tuple[AutoChoice, ...]:
    """Choose learning rate and batch size."""
    return (learning_rate(facts.model_type, facts.hidden_size), batch_size(facts))


def learning_rate(model_type: str, hidden_size: int) -> AutoChoice:
    """Choose the peak learning rate: `5e-5 * 10 * (2000 / hidden size) ** P`, whatever the rank."""
    known = next((name for name in _EXPONENTS if model_type.startswith(name)), None)
    exponent = _EXPONENTS[known or _CAUTIOUS]
    value = float(f"{LORA_RATE * (2000 / hidden_size) ** exponent:.2g}")
    whose = f"fitted to {known}" if known else f"of {_CAUTIOUS}, the cautious one: none is published for {model_type}"
    reason = f"5e-4 x (2000 / {hidden_size}) ^ {exponent}; hidden size {hidden_size}, exponent {whose}"
    return AutoChoice(name="learning_rate", value=value, reason=reason)


def batch_size(facts: AutoFacts) -> AutoChoice:
    """Choose the largest power of two that fits the memory and leaves enough steps an epoch, at most `MAX_BATCH`."""
    most = max(1, MAX_BATCH // facts.accumulation)
    by_rows = min(most, max(1, facts.num_rows // (MIN_STEPS_PER_EPOCH * facts.accumulation)))
    size = 2 ** int(math.log2(by_rows))
    wanted = size
    room = MEMORY_SHARE * facts.free_bytes
    while size > 1 and facts.peak_bytes(size) > room:
        size //= 2
    needs = f"{_gib(facts.peak_bytes(size))} of {_gib(facts.free_bytes)} GiB free"
    if size < wanted:
        reason = f"{wanted} would need {_gib(facts.peak_bytes(wanted))} GiB; this needs {needs}"
    elif 2 * wanted <= most:
        steps = math.ceil(facts.num_rows / (size * facts.accumulation))
        reason = (
            f"a larger one would leave too few steps an epoch (now {steps}, of {facts.num_rows:,} rows); needs {needs}"
        )
    else:
        reason = f"the most that LoRA gains from; needs {needs}"
    return AutoChoice(name="batch_size", value=size, reason=reason)


def decide(asked: AskedConfig, choices: Sequence[AutoChoice]) -> TrainingConfig:
    """Put what was chosen where `asked` leaves a setting open.

    Raises:
        KeyError: `choices` lack a setting that is open.
    """
    values = {choice.name: choice.value for choice in choices}
    chosen = {name: values[name] for name in asked.open_settings}
    return TrainingConfig.model_validate({**asked.model_dump(), **chosen})


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
