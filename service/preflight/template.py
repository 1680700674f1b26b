"""Whether the base's template can say what the rows say.

A template may ignore a role, tools or tool calls without a word (those of small bases often do): such rows would be
learnt without them. So each such feature is rendered once with a mark in it, and the mark is looked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from base.errors import RenderingError
from base.rendering import Example, Message, Tools
from corpus.dataset import Dataset
from corpus.records import Record
from training.rows.cache import CachedRows, TokenCache
from training.rows.examples import Encoder

_MARK = "zebra"
"""An ordinary word that no template contains and every tokenizer gives back as it was."""
_USER: Message = {"role": "user", "content": "x"}
_ANSWER: Message = {"role": "assistant", "content": "y"}


def _call(name: str) -> Message:
    function = {"name": name, "arguments": {}}
    calls = [{"type": "function", "id": "call00000", "function": function}]
    return {"role": "assistant", "content": "", "tool_calls": calls}


_TOOL = {"type": "function", "function": {"name": _MARK, "description": "d", "parameters": {"type": "object"}}}
_RESULT: Message = {"role": "tool", "content": _MARK, "tool_call_id": "call00000", "name": "f"}
_PROBES: Mapping[str, tuple[tuple[Message, ...], Tools]] = {
    "system messages": (({"role": "system", "content": _MARK}, _USER, _ANSWER), None),
    "developer messages": (({"role": "developer", "content": _MARK}, _USER, _ANSWER), None),
    "tools": ((_USER, _ANSWER), (_TOOL,)),
    "tool calls": ((_USER, _call(_MARK)), None),
    "tool results": ((_USER, _call("f"), _RESULT, _ANSWER), None),
}
_ROLES = {"system": "system messages", "developer": "developer messages", "tool": "tool results"}


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The control tokens that `tokenizer` would read in a text."""
    return frozenset(tokenizer.get_added_vocab()) | frozenset(tokenizer.all_special_tokens)


def features(record: Record) -> Iterator[str]:
    """Yield what a row has beside texts of user and assistant."""
    roles = {str(message["role"]) for message in record.messages}
    yield from (feature for role, feature in _ROLES.items() if role in roles)
    if record.tools:
        yield "tools"
    if any(message.get("tool_calls") for message in record.messages):
        yield "tool calls"


@dataclass(frozen=True)
class FittingEncoder(Encoder):
    """An encoder that refuses rows of which the template would leave something out, and encodes each row once."""

    cached: dict[str, CachedRows] = field(default_factory=dict)
    """By file what earlier runs have encoded, and what this one adds."""
    _renders: dict[str, bool] = field(default_factory=dict, init=False)
    _encoded: dict[tuple[str, int], Example] = field(default_factory=dict, init=False)

    def __call__(self, record: Record) -> Example:
        """The whole row, not truncated.

        Raises:
            RenderingError: the template cannot express the conversation, or leaves a part of it out.
        """
        key = record.file, record.line
        if key not in self._encoded:
            for feature in features(record):
                self._refuse_ignored(feature)
            self._encoded[key] = self._find(record) or self._encode(record)
        return self._encoded[key]

    def remember(self, dataset: Dataset, cache: TokenCache) -> None:
        """Look the rows of `dataset` up in `cache`."""
        for file in dataset.files:
            if file.path not in self.cached:
                self.cached[file.path] = cache.rows(file.digest, self)

    def save(self) -> None:
        """Keep what was encoded for later runs."""
        for rows in self.cached.values():
            rows.save()

    def _find(self, record: Record) -> Example | None:
        rows = self.cached.get(record.file)
        return None if rows is None else rows.find(record)

    def _encode(self, record: Record) -> Example:
        example = super().__call__(record)
        if record.file in self.cached:
            self.cached[record.file].keep(record, example)
        return example

    def _refuse_ignored(self, feature: str) -> None:
        if feature not in self._renders:
            self._renders[feature] = self._probe(feature)
        if not self._renders[feature]:
            raise RenderingError(f"this base's template leaves out {feature}: the row would be learnt without them")

    def _probe(self, feature: str) -> bool:
        messages, tools = _PROBES[feature]
        try:
            ids = self.renderer.conversation(messages, tools).input_ids
        except RenderingError:
            return True  # It says so itself, row by row, and says why.
        return _MARK in str(self.tokenizer.decode(list(ids)))
