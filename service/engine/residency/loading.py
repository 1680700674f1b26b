"""Reads an adapter from disk into the form in which slots take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from adapters.config import LoraConfig
from adapters.coverage import check_coverage
from adapters.errors import AdapterError, InvalidAdapterError
from adapters.files import WEIGHTS
from adapters.header import HeaderLimits, read_header
from adapters.weights import is_identity, load_weights
from base.loader import LoadedBase
from service.engine.errors import AdapterLoadError, InvalidAdaptersError
from service.engine.lora.fold import FoldedAdapter, fold
from service.engine.model.runner import ModelRunner
from service.engine.request import AdapterSource, AdapterUse
from service.engine.residency.verification import Expectation, expectation

_TENSORS_PER_LAYER = 3
_PART_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter in host memory."""

    folded: FoldedAdapter
    expected: Expectation
    """What its logits will be compared with."""


class AdapterLoader:
    """Loads adapters for one base; every tensor must have its place, and every place the right shape."""

    def __init__(self, base: LoadedBase, runner: ModelRunner) -> None:
        self._base = base
        self._most_tokens = min(base.context_tokens, runner.cache.num_tokens)
        self._groups, self._products, self._slot_dtype = runner.groups, runner.products, runner.slots.dtype
        self._shapes = {
            name: (size, group.in_features)
            for group in runner.groups
            for name, size in zip(group.names, group.out_features, strict=True)
        }

    @torch.inference_mode()
    def load(self, source: AdapterSource) -> LoadedAdapter:
        """Reads and folds; not on the engine's thread.

        Raises:
            AdapterLoadError: the files cannot be read, or a tensor does not fit the base.
        """
        try:
            config = LoraConfig.read(source.folder)
            # As at import: a tensor too few, or one that the configuration does not ask for, is how an adapter loads
            # and then answers as the base.
            limits = HeaderLimits(entries=_TENSORS_PER_LAYER * len(self._shapes))
            check_coverage(config, read_header(source.folder / WEIGHTS, limits), self._shapes)
            _read_ahead(source.folder / WEIGHTS)
            weights = load_weights(source.folder, config)
        except AdapterError as error:
            raise AdapterLoadError(f"adapter {source.label}: {error}") from error
        folded = fold(weights, config, self._groups, self._products, self._slot_dtype)
        return LoadedAdapter(folded, expectation(source.folder, is_identity(weights), self._base, self._most_tokens))


def _read_ahead(file: Path) -> None:
    """Brings a file into the system's cache.

    safetensors maps it into memory and would wait for the disk with the interpreter's lock in its hand: the engine's
    thread would stand still meanwhile.
    """
    part = bytearray(_PART_BYTES)
    try:
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(part):
                pass
    except OSError as error:
        raise InvalidAdapterError(f"{file.name} cannot be read: {error.strerror}") from error


def check_adapters(uses: Sequence[AdapterUse], max_loras: int) -> None:
    """Refuses what no step could run, as far as that is known without reading; `dora_refusal` is for the rest.

    Raises:
        InvalidAdaptersError: names the adapter and the limit.
    """
    if len(uses) > max_loras:
        raise InvalidAdaptersError(
            f"{len(uses)} adapters are asked for together, and this server holds {max_loras} at once (max_loras)"
            if max_loras
            else "this server runs without adapters (max_loras is 0)"
        )
    digests = [use.source.digest for use in uses]
    for use in uses:
        if digests.count(use.source.digest) > 1:
            raise InvalidAdaptersError(f"adapter {use.source.label} is named twice; add its weights up")


def dora_refusal(source: AdapterSource) -> InvalidAdaptersError:
    """Why a DoRA adapter is neither scaled nor merged."""
    return InvalidAdaptersError(
        f"adapter {source.label} is DoRA: its magnitudes are of one adapter at full strength, so it can be neither "
        "scaled nor merged; use it alone with scale 1"
    )
