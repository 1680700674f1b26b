"""How likely tokens were, from the engine's words to OpenAI's."""

from collections.abc import Sequence

from service.api.schemas.logprobs import ChatLogprobs, CompletionLogprobs, TokenInfo, TopLogprob
from service.engine.request import TokenLogprob
from service.inference.token_texts import CharacterCount, TokenTexts

_LEAST = -9999.0
"""Stands for minus infinity, which JSON does not have."""


def token_infos(texts: TokenTexts, logprobs: Sequence[TokenLogprob]) -> list[TokenInfo]:
    """Each token with its likeliest rivals."""
    return [
        TokenInfo(
            **_shown(texts, each.token_id, each.logprob),
            top_logprobs=[TopLogprob(**_shown(texts, token, logprob)) for token, logprob in each.top],
        )
        for each in logprobs
    ]


def chat_logprobs(texts: TokenTexts, logprobs: Sequence[TokenLogprob]) -> ChatLogprobs:
    """Of an answer or a piece of one."""
    return ChatLogprobs(content=token_infos(texts, logprobs))


class CompletionTokens:
    """Lists the tokens of one completion, prompt first if it is echoed, and counts where each begins in the text."""

    def __init__(self, texts: TokenTexts) -> None:
        self._texts = texts
        self._offset = 0
        self._characters = CharacterCount()

    def of_prompt(self, text: str, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob]) -> CompletionLogprobs:
        """Of an echoed prompt; `logprobs` are those of its tokens from the second on."""
        offsets = [self._advance_in(text, token) for token in token_ids]
        # The answer follows the prompt's text, however its tokens were counted.
        self._offset = len(text)
        return CompletionLogprobs(
            tokens=[self._texts.key(token) for token in token_ids],
            token_logprobs=[None, *(_finite(each.logprob) for each in logprobs)],
            top_logprobs=[None, *(self._top(each) for each in logprobs)],
            text_offset=offsets,
        )

    def of_answer(self, logprobs: Sequence[TokenLogprob]) -> CompletionLogprobs:
        """Of the answer's next tokens."""
        return CompletionLogprobs(
            tokens=[self._texts.key(each.token_id) for each in logprobs],
            token_logprobs=[_finite(each.logprob) for each in logprobs],
            top_logprobs=[self._top(each) for each in logprobs],
            text_offset=[self._advance(each.token_id) for each in logprobs],
        )

    def _advance(self, token: int) -> int:
        """Where a token of the answer begins; answers show no special tokens."""
        begin = self._offset
        if not self._texts.is_special(token):
            self._offset += self._characters.add(self._texts.raw(token))
        return begin

    def _advance_in(self, text: str, token: int) -> int:
        """Where a token of the prompt begins: what the tokenizer put before the text has no width."""
        begin = self._offset
        raw = self._texts.raw(token)
        if begin == 0 and not text.startswith(" ") and raw.startswith(b" "):
            raw = raw[1:]
        if not self._texts.is_special(token) or text.startswith(raw.decode("utf-8", "replace"), begin):
            self._offset = min(begin + self._characters.add(raw), len(text))
        return begin

    def _top(self, logprob: TokenLogprob) -> dict[str, float]:
        top: dict[str, float] = {}
        # The likeliest keeps its place where two tokens write the same.
        for token, value in (*logprob.top, (logprob.token_id, logprob.logprob)):
            top.setdefault(self._texts.key(token), _finite(value))
        return top


def joined(first: CompletionLogprobs, second: CompletionLogprobs) -> CompletionLogprobs:
    """One list after the other."""
    return CompletionLogprobs(
        tokens=first.tokens + second.tokens,
        token_logprobs=first.token_logprobs + second.token_logprobs,
        top_logprobs=first.top_logprobs + second.top_logprobs,
        text_offset=first.text_offset + second.text_offset,
    )


def _shown(texts: TokenTexts, token: int, logprob: float) -> dict[str, object]:
    return {"token": texts.shown(token), "logprob": _finite(logprob), "bytes": list(texts.raw(token))}


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
