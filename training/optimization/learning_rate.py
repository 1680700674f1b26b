"""The learning rate over a run."""

import math


def learning_rate_factor(step: int, total_steps: int, warmup_ratio: float) -> float:
    """Share of the peak learning rate at `step` (from 0): a linear warm-up, then a cosine to zero.

    The first step of a warm-up is above zero and the last step of the run is too, so no step is wasted.
    """
    warmup_steps = math.ceil(total_steps * warmup_ratio)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
