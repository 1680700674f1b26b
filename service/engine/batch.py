"""One static batch of generations: a prefill of left-padded prompts, then a token a row until all rows have ended.

This is the reference path: transformers' own forward and cache, rows sorted by adapter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from service.engine.detokenizer import Detokenizer
from service.engine.errors import EngineFailedError
from service.engine.layers import Routing, Segment
from service.engine.metrics import EngineMetrics
from service.engine.request import Delta, FinishReason, GenerationRequest
from service.engine.residency import Layers
from service.engine.sampling import RowSampler
from service.engine.stream import TokenStream

NO_LAYERS: Layers = {}


@dataclass(frozen=True)
class Work:
    """A request with its adapter in memory."""

    request: GenerationRequest
    stream: TokenStream
    layers: Layers
    """Empty for the base alone."""


class _Row:
    """One request while it runs."""

    def __init__(self, work: Work, tokenizer: PreTrainedTokenizerBase, metrics: EngineMetrics) -> None:
        self.layers = work.layers
        self.stream = work.stream
        self.prompt_ids = work.request.prompt_ids
        self.last_id = 0
        self.ended = False
        self._request = work.request
        self._sampler = RowSampler(work.request.params)
        self._detokenizer = Detokenizer(tokenizer, work.request.params.stop)
        self._metrics = metrics
        self._num_new = 0

    def advance(self, logits_V: Tensor) -> None:
        """Chooses a token and passes on what it makes certain."""
        params = self._request.params
        if self.stream.cancelled:
            self._end("cancelled", ())
            return
        if bool(logits_V.isnan().any()):
            self._fail(EngineFailedError("the model's output is not a number; the adapter's weights may be too large"))
            return
        may_end = self._num_new >= params.min_tokens
        if not may_end and not params.ignore_eos:
            logits_V = logits_V.clone()
            logits_V[list(self._request.stop_ids)] = -torch.inf
        self.last_id = self._sampler.choose(logits_V)
        self._num_new += 1
        if self._num_new == 1:
            self._metrics.first_token(len(self.prompt_ids), self.stream.age_seconds)
        if self.last_id in self._request.stop_ids and not params.ignore_eos:
            self._end("stop", (self.last_id,))
            return
        text = self._detokenizer.add(self.last_id, may_stop=self._num_new >= params.min_tokens)
        if self._detokenizer.stopped:
            self._end("stop", (self.last_id,), text)
        elif self._num_new >= params.max_tokens:
            self._end("length", (self.last_id,), text)
        else:
            self.stream.put(Delta(text, (self.last_id,)))

    def _fail(self, error: EngineFailedError) -> None:
        self.ended = True
        self.stream.put(error)

    def _end(self, reason: FinishReason, token_ids: tuple[int, ...], text: str = "") -> None:
        self.ended = True
        self._metrics.finished(self._num_new, self.stream.age_seconds, reason)
        self.stream.put(Delta(text + self._detokenizer.finish(), token_ids, reason))


class GenerationBatch:
    """Runs a list of requests to their ends. Every stream gets its last delta unless `run` raises."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        routing: Routing,
        works: Sequence[Work],
        metrics: EngineMetrics,
    ) -> None:
        self._model = model
        self._routing = routing
        # Equal adapters side by side: each is one slice of the batch.
        self._rows = [_Row(work, tokenizer, metrics) for work in sorted(works, key=lambda work: id(work.layers))]

    @torch.inference_mode()
    def run(self) -> None:
        """Prefill, then decode until no row is left."""
        mask_NT, ids_NT = self._padded_prompts()
        cache = DynamicCache(config=self._model.config)
        while True:
            logits_NV = self._forward(ids_NT, mask_NT, cache)
            for row, logits_V in zip(self._rows, logits_NV, strict=True):
                row.advance(logits_V)
            kept = [at for at, row in enumerate(self._rows) if not row.ended]
            if not kept:
                return
            if len(kept) < len(self._rows):
                self._rows = [self._rows[at] for at in kept]
                index = torch.tensor(kept, device=mask_NT.device)
                cache.batch_select_indices(index)
                mask_NT = mask_NT[index]
            ids_NT = torch.tensor([[row.last_id] for row in self._rows], device=mask_NT.device)
            mask_NT = torch.cat([mask_NT, mask_NT.new_ones(len(self._rows), 1)], dim=1)

    def _forward(self, ids_NT: Tensor, mask_NT: Tensor, cache: DynamicCache) -> Tensor:
        self._routing.segments = segments([row.layers for row in self._rows])
        self._routing.num_rows = len(self._rows)
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp_min(0)[:, -ids_NT.shape[1] :]
        logits: Tensor = self._model(
            input_ids=ids_NT,
            attention_mask=mask_NT,
            position_ids=positions_NT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1].float()

    def _padded_prompts(self) -> tuple[Tensor, Tensor]:
        longest = max(len(row.prompt_ids) for row in self._rows)
        mask = torch.zeros(len(self._rows), longest, dtype=torch.long)
        ids = torch.zeros(len(self._rows), longest, dtype=torch.long)
        for at, row in enumerate(self._rows):
            mask[at, longest - len(row.prompt_ids) :] = 1
            ids[at, longest - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
        return mask.to(self._model.device), ids.to(self._model.device)


def segments(layers_by_row: Sequence[Layers]) -> tuple[Segment, ...]:
    """The runs of rows that share an adapter, rows without one left out."""
    found = []
    for _, run in groupby(enumerate(layers_by_row), key=lambda pair: id(pair[1])):
        rows = list(run)
        if rows[0][1]:
            found.append(Segment(rows[0][0], rows[-1][0] + 1, rows[0][1]))
    return tuple(found)
