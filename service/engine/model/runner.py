"""The model as the engine sees it: spans of sequences in, logits out.

Shape legend: T tokens of the step, B sequences, N rows whose logits are wanted, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from base.int8 import Int8Linear
from base.loader import LoadedBase
from base.smoothing import smoothing_ids
from service.engine.cache.store import CacheShape, CacheStore
from service.engine.errors import UnsupportedBaseError
from service.engine.lora.grouped_routing import GroupedRouting, RowLimits
from service.engine.lora.groups import Group
from service.engine.lora.routing import Uses
from service.engine.lora.slots import Slots
from service.engine.model.acceleration import Acceleration, find_acceleration, find_operations
from service.engine.model.attention import PagedAttention
from service.engine.model.batch import Span, Step, StepBatch
from service.engine.model.calibration import calibrate
from service.engine.model.graphs import DecodeGraphs
from service.engine.model.operations import TorchOperations
from service.engine.model.prepare import Preparation, PrepareOptions
from service.engine.model.products import Product
from service.engine.model.static_step import StaticInputs
from service.engine.request import EngineConfig


@dataclass(frozen=True)
class Work:
    """A sequence's part of one step."""

    span: Span
    uses: Uses
    wanted: Sequence[int]
    """Which of the span's tokens need logits, counted from its first."""


class ModelRunner:
    """Owns the model and its cache; used by one thread after another, never by two at once.

    Args:
        base: the model; its layers are replaced.
        config: bounds.
        acceleration: none: what the device has.

    Raises:
        UnsupportedBaseError: the base's attention is of a kind that the cache does not know.
        EngineConfigError: the cache's bytes hold no page.
    """

    def __init__(self, base: LoadedBase, config: EngineConfig, acceleration: Acceleration | None = None) -> None:
        self._model = base.model
        self._device = base.device
        self.kernels = calibrate(base.model)
        text_config = base.model.config.get_text_config()
        self.cache = CacheStore(
            CacheShape.of(text_config, config.page_tokens), config.cache_bytes, base.dtype, base.device
        )
        acceleration = acceleration or find_acceleration(base.device)
        operations = find_operations(base.device, base.dtype) if config.fused else TorchOperations()
        self._attention = (
            PagedAttention(self.cache, operations.decode, operations.short_span)
            if acceleration is None
            else PagedAttention(self.cache, acceleration.decode)
        )
        self._routing = (
            operations.create_routing() if acceleration is None else self._grouped_routing(acceleration, config)
        )
        prepared = Preparation(
            base.model,
            self._attention,
            self._routing,
            PrepareOptions(
                fused=config.fused, packed=self.kernels.packed, operations=operations, head_text=_head_text(base)
            ),
        )
        self.groups: Sequence[Group] = prepared.groups
        self.products: dict[str, Product] = {name: layer.product for name, layer in prepared.layers.items()}
        self.slots = Slots(prepared.groups, config.max_loras, operations.adapter_dtype(base), base.device)
        prepared.attach(self.slots)
        self._graphs: DecodeGraphs | None = None
        self.vocabulary_size = self._probe(text_config.num_hidden_layers)
        if acceleration is not None and isinstance(self._routing, GroupedRouting):
            inputs = self._static_inputs(config.max_num_seqs, text_config.max_position_embeddings)
            names = frozenset(group.name for group in self.groups)
            self._graphs = DecodeGraphs(self._forward, self._routing, inputs, acceleration.record, names)

    @torch.inference_mode()
    def run(self, works: Sequence[Work]) -> Tensor:
        """One step.

        Args:
            works: those with a single token first, equal uses side by side.

        Returns:
            Logits [N, V] in float32, work by work.
        """
        spans, uses = [work.span for work in works], [work.uses for work in works]
        if self._graphs is not None and (logits_BV := self._graphs.run(spans, uses)) is not None:
            kept_NV = logits_BV if all(work.wanted for work in works) else logits_BV[self._wanted(works)]
            return kept_NV.to(torch.float32, copy=True)
        step = StepBatch(spans, self.cache.page_tokens, self._device)
        self._routing.plan(uses, [len(span.token_ids) for span in spans], self._device)
        return self._forward(step, self._wanted(works)).float()

    @torch.inference_mode()
    def scrub(self, pages: Sequence[int]) -> None:
        """Clears pages that may hold what is not a number, before others get them."""
        size = self.cache.page_tokens
        slots = [page * size + at for page in pages for at in range(size)]
        slots_X = torch.tensor(slots, dtype=torch.long, device=self._device)
        for layer in self.cache.layers:
            layer.index_fill_(0, slots_X, 0)

    def _forward(self, step: Step, wanted_N: Tensor | None = None) -> Tensor:
        """Logits [N, V] in the model's dtype; of all tokens where nothing is said."""
        self._attention.begin(step)
        logits_1NV: Tensor = self._model(
            input_ids=step.ids_T[None],
            position_ids=step.positions_T[None],
            use_cache=False,
            logits_to_keep=0 if wanted_N is None else wanted_N,
        ).logits
        return logits_1NV[0]

    def _grouped_routing(self, acceleration: Acceleration, config: EngineConfig) -> GroupedRouting:
        tokens = max(config.max_num_seqs, config.max_num_batched_tokens)
        limits = RowLimits(sequences=config.max_num_seqs, tokens=tokens, adapters=config.max_loras)
        return GroupedRouting(acceleration.add_changes, limits, self._device)

    def _static_inputs(self, max_rows: int, context_tokens: int) -> StaticInputs:
        size = self.cache.page_tokens
        max_pages = min(self.cache.num_pages, -(-context_tokens // size))
        return StaticInputs(max_rows, max_pages, size, self.cache.scratch_page, self._device)

    def _wanted(self, works: Sequence[Work]) -> Tensor:
        """[N] of the step's tokens, those that need logits."""
        first, rows = 0, []
        for work in works:
            rows += [first + at for at in work.wanted]
            first += len(work.span.token_ids)
        # Of a chunk in the middle of a prompt nothing is wanted, and an empty tensor would be one of floats.
        return torch.tensor(rows, dtype=torch.long, device=self._device)

    def _probe(self, num_layers: int) -> int:
        """The size of the vocabulary, after one token's pass.

        A model that keeps its own attention would answer without the cache, and wrongly from the second token on.
        """
        try:
            logits_NV = self.run([Work(Span([0], 0, [0]), (), [0])])
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            # Heads of other sizes, positions in the scores, a look at a layer's weight: it would fail at every step.
            name = type(self._model).__name__
            raise UnsupportedBaseError(f"{name} does not run on the paged cache: {error}") from error
        if self._attention.num_calls != num_layers:
            raise UnsupportedBaseError(
                f"{type(self._model).__name__}: {self._attention.num_calls} of {num_layers} layers attend through "
                "transformers' attention interface; the engine's cache needs all of them"
            )
        return int(logits_NV.shape[1])


def _head_text(base: LoadedBase) -> list[int]:
    """An int8 base keeps a plain head, from which gradients start; serving has no use for them."""
    int8 = any(isinstance(module, Int8Linear) for module in base.model.modules())
    return smoothing_ids(base.tokenizer) if int8 else []
