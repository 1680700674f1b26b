"""How many prompt tokens a step may take on without keeping running answers waiting."""

_WEIGHT = 0.2
"""Of the newest measurement."""
_STRETCH = 1.5
"""Steps that a running answer may wait longer, for each waiting prompt that it weighs against."""
_SMALLEST = 16


class Pace:
    """Learns from the steps' times what a decoding step and a prompt token cost.

    While answers run, a step takes so many prompt tokens that it lasts about 1 + `_STRETCH` times a step without any;
    more where many prompts wait for few answers, because all then get on sooner.
    """

    def __init__(self) -> None:
        self._decode_seconds: float | None = None
        self._token_seconds: float | None = None

    def record(self, num_decode: int, num_prefill: int, seconds: float) -> None:
        """A step took so long for so many single tokens and so many tokens of prompts."""
        if num_prefill == 0:
            self._decode_seconds = _mixed(self._decode_seconds, seconds)
        else:
            known = self._decode_seconds if num_decode else 0.0
            own = seconds - (known or 0.0)
            # A short prompt costs a step's fixed part too, and says little about the price of more tokens.
            if num_prefill >= _SMALLEST:
                self._token_seconds = _mixed(self._token_seconds, max(own, 0.1 * seconds) / num_prefill)

    def prefill_tokens(self, num_decode: int, num_waiting: int, most: int) -> int:
        """Prompt tokens for the next step, at most `most`."""
        if num_decode == 0 or self._decode_seconds is None or self._token_seconds is None:
            return most
        weight = max(1.0, num_waiting / num_decode)
        affordable = _STRETCH * weight * self._decode_seconds / self._token_seconds
        return min(most, max(_SMALLEST, int(affordable)))


def _mixed(known: float | None, new: float) -> float:
    return new if known is None else (1 - _WEIGHT) * known + _WEIGHT * new
