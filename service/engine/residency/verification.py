"""Whether a freshly loaded adapter does what it should: before its first answer, its logits are looked at.

Adapters that load and then answer as the base are the most common silent failure of such servers.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from adapters.errors import AdapterError
from adapters.files import MANIFEST
from adapters.manifest import GoldenLogits, Manifest
from base.loader import LoadedBase
from base.shapes import embedding_rows

_SAME = 1e-5
"""Logits are unchanged if none moves by more than this share of the largest: the rounding of float32."""
_TOLERANCE = {"none": 5e-3, "int8": 0.1, "nf4": 0.1}
"""How far golden logits may be off, as a share of the largest, by quantisation: kernels differ between devices."""
_TOLERANCE_LOW_PRECISION = 0.1


@dataclass(frozen=True)
class Expectation:
    """What is known of an adapter's logits before they are seen."""

    golden: GoldenLogits | None
    """None: only that they differ from the base's."""
    identity: bool
    """Its weights change nothing."""


def expectation(folder: Path, identity: bool, base: LoadedBase, most_tokens: int) -> Expectation:
    """What is known of the adapter in `folder`; its golden logits count only for the same quantisation and dtype.

    Args:
        folder: may hold a manifest.
        identity: what its weights say.
        base: that it was loaded for.
        most_tokens: the longest prompt that can be run.
    """
    try:
        golden = Manifest.read(folder).golden if (folder / MANIFEST).exists() else None
    except AdapterError:
        golden = None
    usable = golden is not None and len(golden.prompt_ids) <= most_tokens and _comparable(golden, base)
    return Expectation(golden if usable else None, identity)


def fault(expected: Expectation, logits_V: Tensor, base_logits_V: Tensor | None, base: LoadedBase) -> str | None:
    """What is wrong with an adapter's logits; None if nothing is.

    Args:
        expected: what is known of it.
        logits_V: after the expectation's prompt.
        base_logits_V: the base's after the same prompt; needed where there are no golden logits.
        base: that it was loaded for.
    """
    if expected.golden is not None:
        return _golden_fault(expected.golden, logits_V, base)
    if not bool(torch.isfinite(logits_V).all()):
        # Its requests fail by themselves, and on another prompt it may do well.
        return None
    assert base_logits_V is not None
    moved = float((logits_V - base_logits_V).abs().max())
    if not expected.identity and moved <= _SAME * float(base_logits_V.abs().max()):
        return "its weights are not zero, yet the logits after a canary prompt are the base's"
    return None


def _golden_fault(golden: GoldenLogits, logits_V: Tensor, base: LoadedBase) -> str | None:
    wanted = torch.tensor(golden.top_logits)
    found = logits_V[torch.tensor(golden.top_ids, device=logits_V.device)].cpu()
    off, largest = float((found - wanted).abs().max()), max(1.0, float(wanted.abs().max()))
    low_precision = base.dtype != torch.float32
    limit = max(_TOLERANCE[base.quantization], _TOLERANCE_LOW_PRECISION if low_precision else 0.0) * largest
    if off <= limit:
        return None
    return (
        f"its logits after the golden prompt are off by {off:.3g}, and {limit:.3g} is the limit: what is loaded is not "
        "what was trained; train or import it again"
    )


def _comparable(golden: GoldenLogits, base: LoadedBase) -> bool:
    same_dtype = golden.dtype == str(base.dtype).removeprefix("torch.")
    rows = embedding_rows(base.model)
    # Whoever uploads an adapter writes its manifest, and a token that the base does not have would fail the step.
    known = all(0 <= token_id < rows for token_id in (*golden.prompt_ids, *golden.top_ids))
    complete = bool(golden.prompt_ids) and 0 < len(golden.top_ids) == len(golden.top_logits)
    return known and complete and same_dtype and golden.quantization == base.quantization
