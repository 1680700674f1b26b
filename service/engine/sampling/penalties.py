"""Penalties on tokens that have been seen.

Shapes: N rows, V vocabulary, R rows with penalties, S seen tokens of one row or of all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST_CAPACITY_TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """How strongly seen tokens are held back; the defaults do nothing."""

    repetition: float = 1.0
    """Divides positive logits of tokens in prompt or answer, multiplies negative ones (arXiv:1909.05858)."""
    presence: float = 0.0
    """Taken off the logit of each token of the answer."""
    frequency: float = 0.0
    """Taken off for each time that the answer holds the token."""


class SeenTokens:
    """One request's distinct tokens and how often its answer has each: constant work a token."""

    def __init__(self, penalties: Penalties, prompt_ids: Iterable[int]) -> None:
        self.penalties = penalties
        self._places: dict[int, int] = {}
        self._token_ids_S = torch.empty(_FIRST_CAPACITY_TOKENS, dtype=torch.long)
        self._counts_S = torch.zeros(_FIRST_CAPACITY_TOKENS, dtype=torch.float32)
        distinct = list(dict.fromkeys(prompt_ids))
        self._reserve(len(distinct))
        self._places.update((token_id, place) for place, token_id in enumerate(distinct))
        self._token_ids_S[: len(distinct)] = torch.tensor(distinct, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def token_ids_S(self) -> Tensor:
        """Each once."""
        return self._token_ids_S[: len(self)]

    @property
    def counts_S(self) -> Tensor:
        """How often the answer has each, as float32; 0: only the prompt has it."""
        return self._counts_S[: len(self)]

    def add(self, token_id: int) -> None:
        """Counts one more token of the answer."""
        place = self._places.get(token_id)
        if place is None:
            place = len(self)
            self._reserve(place + 1)
            self._places[token_id] = place
            self._token_ids_S[place] = token_id
        self._counts_S[place] += 1

    def _reserve(self, num_tokens: int) -> None:
        capacity = len(self._token_ids_S)
        if num_tokens <= capacity:
            return
        more = max(num_tokens, 2 * capacity) - capacity
        self._token_ids_S = torch.cat((self._token_ids_S, self._token_ids_S.new_empty(more)))
        self._counts_S = torch.cat((self._counts_S, self._counts_S.new_zeros(more)))


def apply_penalties(logits_NV: Tensor, rows: Sequence[tuple[int, SeenTokens]]) -> None:
    """Applies repetition, then frequency and presence penalties, in place.

    Args:
        logits_NV: in float32.
        rows: row and its tokens.
    """
    if not rows:
        return
    device = logits_NV.device
    lengths_R = torch.tensor([len(seen) for _, seen in rows])
    rows_S = torch.tensor([row for row, _ in rows]).repeat_interleave(lengths_R).to(device)
    token_ids_S = torch.cat([seen.token_ids_S for _, seen in rows]).to(device)
    counts_S = torch.cat([seen.counts_S for _, seen in rows]).to(device)
    strengths_R3 = torch.tensor([_strengths(seen.penalties) for _, seen in rows])
    repetition_S, presence_S, frequency_S = strengths_R3.repeat_interleave(lengths_R, 0).to(device).unbind(1)
    logits_S = logits_NV[rows_S, token_ids_S]
    logits_S = torch.where(logits_S > 0, logits_S / repetition_S, logits_S * repetition_S)
    logits_S -= frequency_S * counts_S + presence_S * (counts_S > 0)
    logits_NV[rows_S, token_ids_S] = logits_S


def _strengths(penalties: Penalties) -> tuple[float, float, float]:
    return penalties.repetition, penalties.presence, penalties.frequency
