"""What one request carries from choice to choice."""

from collections.abc import Collection, Iterable
from random import Random

from service.engine.errors import InvalidGrammarError
from service.engine.request import SamplingParams
from service.engine.sampling.bias import Bias
from service.engine.sampling.matcher import Matcher
from service.engine.sampling.penalties import Penalties, SeenTokens

_MIN_TEMPERATURE = 1e-5
"""Below it logits over temperature overflow; the likeliest token has all the probability long before."""
_NUM_SEEDS = 1 << 64


class SamplingState:
    """One request's random numbers, counts and grammar, its own, so the rest of the batch does not matter.

    Token ids that the vocabulary does not have are passed over wherever they stand.

    Attributes:
        params: how to choose.
        num_new: tokens chosen so far.
        matcher: where the answer is in its grammar; none: free.
        is_greedy: whether the likeliest token is taken.
        seen: tokens that penalties count; none: no penalties.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt_ids: Iterable[int],
        stop_ids: Collection[int],
        vocabulary_size: int,
        matcher: Matcher | None = None,
    ) -> None:
        """Starts a request.

        Args:
            params: how to choose.
            prompt_ids: the prompt's tokens, for the repetition penalty.
            stop_ids: the model's end tokens; suppressed until `min_tokens`, unless they are ignored.
            vocabulary_size: columns of the logits.
            matcher: the grammar's, for this request alone.
        """
        self.params = params
        self.num_new = 0
        self.matcher = matcher
        self.is_greedy = params.temperature < _MIN_TEMPERATURE or params.top_k == 1
        self.is_filtered = params.top_k > 0 or params.top_p < 1 or params.min_p > 0
        self.seen = _seen(params, prompt_ids, vocabulary_size)
        # Random takes a number's absolute value; the remainder keeps seeds of either sign apart.
        self._random = Random() if params.seed is None else Random(params.seed % _NUM_SEEDS)
        self._bias = Bias.of([pair for pair in params.logit_bias if 0 <= pair[0] < vocabulary_size])
        ends = params.stop_token_ids if params.ignore_eos else params.stop_token_ids | frozenset(stop_ids)
        self._ends = sorted(token_id for token_id in ends if 0 <= token_id < vocabulary_size)
        self._bias_before_end = self._bias + Bias.of([(token_id, -float("inf")) for token_id in self._ends])

    @property
    def barred_ids(self) -> list[int]:
        """Tokens that may not come yet: the ends, before `min_tokens`."""
        return self._ends if self.num_new < self.params.min_tokens else []

    @property
    def bias(self) -> Bias:
        """What is added to this step's logits. A grammar bars tokens by its own mask."""
        return self._bias_before_end if self.barred_ids and self.matcher is None else self._bias

    @property
    def ended(self) -> bool:
        """Whether the grammar lets nothing follow: the answer is over, `ignore_eos` or not."""
        return self.matcher is not None and self.matcher.ended

    @property
    def failure(self) -> InvalidGrammarError | None:
        """Why the request cannot go on, where its grammar is the reason."""
        return self.matcher.failure if self.matcher is not None else None

    def uniform(self) -> float:
        """The next random number in [0, 1)."""
        return self._random.random()

    def accept(self, token_id: int) -> None:
        """Takes note of the token that follows; to be called once after each choice."""
        self.num_new += 1
        if self.seen is not None:
            self.seen.add(token_id)
        if self.matcher is not None:
            self.matcher.accept(token_id)


def _seen(params: SamplingParams, prompt_ids: Iterable[int], vocabulary_size: int) -> SeenTokens | None:
    penalties = Penalties(
        repetition=params.repetition_penalty, presence=params.presence_penalty, frequency=params.frequency_penalty
    )
    if penalties == Penalties():
        return None
    # The other two count the answer's tokens only.
    counted = prompt_ids if penalties.repetition != 1 else ()
    return SeenTokens(penalties, (token_id for token_id in counted if 0 <= token_id < vocabulary_size))
