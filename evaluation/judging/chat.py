"""A conversation's next turn by a model, from wherever the model runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from corpus.messages import Message
from evaluation.errors import JudgeRefusedError, JudgeUnavailableError
from evaluation.sampler import GenerateRequest, Sampler
from evaluation.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model said."""

    text: str
    finish_reason: str = "stop"
    """`length` where it was cut off."""


class Chat(Protocol):
    """Answers conversations. Synchronous; safe to call from several threads."""

    @property
    def name(self) -> str:
        """The model."""

    def answer(self, messages: Sequence[Message], settings: GenerationSettings) -> Turn:
        """The assistant's next turn.

        Raises:
            JudgeRefusedError: there is none to this conversation, however often it is asked; there may be to others.
            JudgeUnavailableError: there is no answer to be had.
        """


class SamplerChat:
    """A model of the sampler: the base or an adapter.

    Args:
        sampler: runs it.
        model: adapter reference; None is the base.
        name: for people.
        render: a conversation to the tokens that its answer begins after; whoever owns the tokenizer has it.
        context_tokens: of the model; answers are cut short to fit.
    """

    def __init__(
        self,
        sampler: Sampler,
        model: str | None,
        *,
        name: str,
        render: Callable[[Sequence[Message]], Sequence[int]],
        context_tokens: int,
    ) -> None:
        self.name = name
        self._sampler = sampler
        self._model = model
        self._render = render
        self._context_tokens = context_tokens

    def answer(self, messages: Sequence[Message], settings: GenerationSettings) -> Turn:
        """See `Chat`; errors of the sampler pass, because they concern the evaluation as much."""
        prompt_ids = tuple(self._render(messages))
        room = self._context_tokens - len(prompt_ids)
        if room < 1:
            reason = f"what it is asked has {len(prompt_ids)} tokens, and its context {self._context_tokens}"
            raise JudgeRefusedError(self.name, reason)
        request = GenerateRequest(
            model=self._model,
            prompt_ids=prompt_ids,
            max_tokens=min(settings.max_tokens, room),
            temperature=settings.temperature,
            seed=settings.seed,
            stop=settings.stop,
        )
        completions = list(self._sampler.generate([request]))
        if not completions:
            raise JudgeUnavailableError(self.name, "the sampler gave no answer")
        return Turn(completions[0].text, completions[0].finish_reason)
