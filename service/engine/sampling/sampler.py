"""One choice for each row of a batch.

The order is vLLM's: grammar, tokens barred before `min_tokens` and `logit_bias`, penalties, temperature, min_p, top_k,
top_p. Shapes: N rows, V vocabulary, R rows that one step concerns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.engine.request import TokenLogprob
from service.engine.sampling.bias import add_biases
from service.engine.sampling.draws import draw
from service.engine.sampling.logprobs import logprobs
from service.engine.sampling.masks import apply_grammars
from service.engine.sampling.penalties import apply_penalties
from service.engine.sampling.state import SamplingState


@dataclass(frozen=True)
class Choice:
    """The next token of a row."""

    token_id: int
    """Means nothing where the choice failed."""
    logprob: TokenLogprob | None = None
    """By the model's own distribution, where it was asked for."""
    failed: bool = False
    """The row has no likeliest token (not a number, infinity, nothing allowed), or the state says why in `failure`."""


def sample(logits_NV: Tensor, states: Sequence[SamplingState]) -> list[Choice]:
    """Chooses for all rows at once; a row's choice depends on its own logits and state only.

    Nothing is noted in the states but the random numbers taken: call `accept` with what is used of it.

    Args:
        logits_NV: in float32, on the model's device; changed in place.
        states: one a row.
    """
    if not states:
        return []
    reported = _rows(states, lambda state: state.params.logprobs is not None)
    raw_RV = logits_NV[reported] if reported else None
    _process(logits_NV, states)
    values_N, tokens_N = logits_NV.max(dim=1)
    drawn = _rows(states, lambda state: not state.is_greedy)
    if drawn:
        tokens_N[drawn] = draw(logits_NV[drawn], [states[row] for row in drawn])
    # One transfer for both.
    tokens, sound = torch.stack((tokens_N, values_N.isfinite().long())).tolist()
    found = {} if raw_RV is None else _logprobs(raw_RV, reported, tokens, states)
    return [
        _choice(state, token_id, bool(is_sound), found.get(row))
        for row, (state, token_id, is_sound) in enumerate(zip(states, tokens, sound, strict=True))
    ]


def _process(logits_NV: Tensor, states: Sequence[SamplingState]) -> None:
    apply_grammars(logits_NV, [(row, state) for row, state in enumerate(states) if state.matcher is not None])
    add_biases(logits_NV, [(row, bias) for row, state in enumerate(states) if len(bias := state.bias)])
    apply_penalties(logits_NV, [(row, state.seen) for row, state in enumerate(states) if state.seen])


def _rows(states: Sequence[SamplingState], wanted: Callable[[SamplingState], bool]) -> list[int]:
    return [row for row, state in enumerate(states) if wanted(state)]


def _logprobs(
    raw_RV: Tensor, rows: Sequence[int], tokens: Sequence[int], states: Sequence[SamplingState]
) -> dict[int, TokenLogprob]:
    num_tops = [states[row].params.logprobs or 0 for row in rows]
    found = logprobs(raw_RV, [tokens[row] for row in rows], max(num_tops))
    return {
        row: replace(each, top=each.top[:num_top]) for row, each, num_top in zip(rows, found, num_tops, strict=True)
    }


def _choice(state: SamplingState, token_id: int, is_sound: bool, logprob: TokenLogprob | None) -> Choice:
    if not is_sound or state.failure is not None:
        return Choice(token_id, failed=True)
    return Choice(token_id, logprob)
