"""Which dtypes a run can be trained in."""

import torch

from base.loader import LoadedBase
from training.errors import ConfigError


def refuse_dtype(base: LoadedBase) -> None:
    """Float16 is refused: its gradients vanish below 6e-8 without loss scaling, and bfloat16 costs the same.

    Raises:
        ConfigError: the base is held in float16.
    """
    if base.dtype == torch.float16:
        raise ConfigError("training in float16 loses small gradients; use --dtype bfloat16, or float32")
