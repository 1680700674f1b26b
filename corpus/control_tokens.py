"""Literal control tokens of chat templates inside the text of rows.

A row that carries them was rendered before, for this base or another: its text would be wrapped in a template twice.
The base's own tokens would even be read as ends of turns.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from corpus.messages import content_text
from corpus.records import Record

FAMILIES: dict[str, tuple[str, ...]] = {
    "ChatML": ("<|im_start|>", "<|im_end|>"),
    "Llama 2 and Mistral": ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "Llama 3": ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "Llama 4": ("<|header_start|>", "<|header_end|>", "<|eot|>"),
    "Gemma": ("<start_of_turn>", "<end_of_turn>"),
    "Phi": ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    # Written with full-width bars and low blocks for spaces.
    "DeepSeek": tuple(f"<\uff5c{name}\uff5c>" for name in ("User", "Assistant", "end\u2581of\u2581sentence")),
    "Harmony": ("<|start|>", "<|channel|>", "<|message|>", "<|return|>"),
    "Command": ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>"),
}
"""Marks of turns, by the templates that use them (the models' published tokenizer_config.json)."""
_FAMILY_OF = {token: family for family, tokens in FAMILIES.items() for token in tokens}
_ANY = re.compile("|".join(re.escape(token) for token in sorted(_FAMILY_OF, key=len, reverse=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlToken:
    """A control token in the text of a row."""

    token: str
    family: str
    where: str
    """`message 2 (assistant)`, or `the text`."""
    own: bool
    """Whether the base's tokenizer knows it."""


def control_tokens(record: Record, own: Collection[str] = ()) -> Iterator[ControlToken]:
    """Yield the first control token of each message of `record`.

    Args:
        record: The row.
        own: Control tokens of the base. In a text record they are meant (whoever writes raw text may write turns); in a
            message they never are.
    """
    if record.kind == "text":
        yield from _first(record.text, "the text", own, foreign_only=True)
        return
    for place, message in enumerate(record.messages, start=1):
        yield from _first(content_text(message), f"message {place} ({message['role']})", own, foreign_only=False)
    if record.rejected is not None:
        yield from _first(content_text(record.rejected), "the rejected answer", own, foreign_only=False)


def _first(text: str, where: str, own: Collection[str], *, foreign_only: bool) -> Iterator[ControlToken]:
    for match in _ANY.finditer(text):
        token = match.group()
        if not (foreign_only and token in own):
            yield ControlToken(token=token, family=_FAMILY_OF[token], where=where, own=token in own)
            return
