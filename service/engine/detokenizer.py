"""Token ids to text as they come, whole characters only, ending before a stop string."""

from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"


class Detokenizer:
    """The text of one answer.

    A token may be half a character, and tokenizers put spaces by what came before: so text is the difference of two
    decodings that share their beginning, held back while it ends in an unfinished character or may be the beginning
    of a stop string.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        self._decoded = 0
        """Ids whose text is in `_pending` or given out."""
        self._context = 0
        """Where decoding begins: a few ids back, so that spaces come out right."""
        self._pending = ""
        self.stopped = False
        """Whether a stop string was met; nothing comes after it."""

    def add(self, token: int, *, may_stop: bool = True) -> str:
        """Takes a token and gives the text that is certain now; stop strings are looked for only if `may_stop`."""
        self._ids.append(token)
        before = self._decode(self._context, self._decoded)
        after = self._decode(self._context, len(self._ids))
        if after.endswith(_UNFINISHED) or len(after) <= len(before):
            return ""
        self._pending += after[len(before) :]
        self._context, self._decoded = self._decoded, len(self._ids)
        return self._release() if may_stop else self._take_pending()

    def finish(self) -> str:
        """The rest of the text, once no token follows."""
        if self.stopped:
            return ""
        before = self._decode(self._context, self._decoded)
        self._pending += self._decode(self._context, len(self._ids))[len(before) :]
        self._decoded = len(self._ids)
        return self._release() + self._take_pending()

    def _release(self) -> str:
        if self.stopped:
            return ""
        found = [at for text in self._stop if (at := self._pending.find(text)) >= 0]
        if found:
            self.stopped = True
            given, self._pending = self._pending[: min(found)], ""
            return given
        held = max((_overlap(self._pending, text) for text in self._stop), default=0)
        cut = len(self._pending) - held
        given, self._pending = self._pending[:cut], self._pending[cut:]
        return given

    def _take_pending(self) -> str:
        given, self._pending = self._pending, ""
        return given

    def _decode(self, start: int, end: int) -> str:
        # Without the clean-up of spaces before punctuation, which looks ahead and so cannot be streamed.
        text = self._tokenizer.decode(
            self._ids[start:end], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
