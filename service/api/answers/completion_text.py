"""Answers as `/v1/completions` shows them: the prompt before them if it is to be echoed, and their tokens."""

from service.api.answers.generation import Asked
from service.api.answers.logprobs import CompletionTokens, joined
from service.api.schemas.completions import CompletionChoice, CompletionRequest
from service.engine.request import Answer, Delta, TokenLogprob
from service.inference.inference import Inference


class CompletionText:
    """One answer, whole or piece by piece.

    Args:
        inference: knows the tokens' texts.
        body: the request.
        asked: what is being answered.
        index: of the choice.
    """

    def __init__(self, inference: Inference, body: CompletionRequest, asked: Asked, index: int) -> None:
        self._index = index
        self._prompt_ids = asked.prompt_ids
        self._listing = None if body.logprobs is None else CompletionTokens(inference.token_texts)
        prompt = body.prompts[asked.prompt_index]
        text = prompt if isinstance(prompt, str) else inference.token_texts.text(asked.prompt_ids)
        self._to_echo: str | None = text if body.echo else None

    def whole(self, answer: Answer) -> CompletionChoice:
        """The choice of an answer that has ended."""
        return self._choice(answer, answer.prompt_logprobs)

    def piece(self, delta: Delta) -> CompletionChoice | None:
        """What a delta adds; None where that is nothing yet. The first one brings the prompt."""
        if not (delta.text or delta.logprobs or delta.finish_reason or self._to_echo):
            return None
        return self._choice(delta, delta.prompt_logprobs)

    def _choice(self, part: Answer | Delta, prompt_logprobs: tuple[TokenLogprob, ...]) -> CompletionChoice:
        assert part.finish_reason != "cancelled"
        prompt, self._to_echo = self._to_echo, None
        logprobs = None
        if self._listing is not None:
            before = None if prompt is None else self._listing.of_prompt(prompt, self._prompt_ids, prompt_logprobs)
            after = self._listing.of_answer(part.logprobs)
            logprobs = after if before is None else joined(before, after)
        return CompletionChoice(
            index=self._index, text=(prompt or "") + part.text, logprobs=logprobs, finish_reason=part.finish_reason
        )
