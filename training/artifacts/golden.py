"""Golden logits: what the trained adapter answers at one position, kept so that a loaded copy can be compared."""

from dataclasses import dataclass

import torch

from base.loader import LoadedBase
from base.rendering import Example

NUM_PROMPT_TOKENS = 32
NUM_TOP = 8


@dataclass(frozen=True)
class Golden:
    """The largest logits after a prompt."""

    prompt_ids: tuple[int, ...]
    top_ids: tuple[int, ...]
    top_logits: tuple[float, ...]


@torch.no_grad()
def golden_logits(base: LoadedBase, example: Example) -> Golden:
    """Runs the first tokens of `example` through the model as it is, adapter included."""
    prompt_ids = example.input_ids[:NUM_PROMPT_TOKENS]
    base.model.eval()
    logits = base.model(input_ids=torch.tensor([prompt_ids], device=base.device), use_cache=False).logits[0, -1]
    top = torch.topk(logits.float(), NUM_TOP)
    return Golden(prompt_ids, tuple(top.indices.tolist()), tuple(round(value, 6) for value in top.values.tolist()))
