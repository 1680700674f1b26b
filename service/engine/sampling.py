"""Choosing the next token of a row from its logits."""

import torch
from torch import Tensor

from service.engine.request import SamplingParams

_MIN_TEMPERATURE = 1e-5
"""Below it logits over temperature overflow; the likeliest token has all the probability long before."""
_NUM_SEEDS = 1 << 64


class RowSampler:
    """One request's choices. Its random numbers are its own, so the rest of the batch does not matter."""

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._generator = torch.Generator()
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed % _NUM_SEEDS)

    def choose(self, logits_V: Tensor) -> int:
        """The next token.

        Args:
            logits_V: this row's logits in float32, on any device.
        """
        if self._params.temperature < _MIN_TEMPERATURE:
            return int(logits_V.argmax())
        # On the CPU, whose generator gives the same numbers on every machine.
        probabilities_V = torch.softmax(logits_V.cpu() / self._params.temperature, dim=-1)
        return int(torch.multinomial(self._filtered(probabilities_V), 1, generator=self._generator))

    def _filtered(self, probabilities_V: Tensor) -> Tensor:
        params = self._params
        if params.top_k == 0 and params.top_p >= 1 and params.min_p == 0:
            return probabilities_V
        values, order = probabilities_V.sort(descending=True, stable=True)
        if params.top_k:
            values, order = values[: params.top_k], order[: params.top_k]
        # As transformers and vLLM do it, top_p is a share of what top_k has left.
        # A token stays if those before it have not reached the sum yet; so the first always stays.
        keep = values.cumsum(0) - values < params.top_p * values.sum()
        keep &= values >= params.min_p * values[0]
        keep[0] = True
        return torch.zeros_like(probabilities_V).scatter_(0, order[keep], values[keep])
