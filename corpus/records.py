"""One training or test example."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from corpus.messages import OPERATOR_ROLES, Message, content_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One usable row, whatever layout it came in.

    A chat record is a conversation whose last message, by the assistant, is to be learnt. A text record is plain text,
    learnt whole.
    """

    kind: Literal["chat", "text"]
    file: str
    """The file it came from."""
    line: int
    """1-based line in that file (row number for JSON and Parquet)."""
    row: Mapping[str, Any]
    """The row as it was read, for writing it again in its own layout."""
    messages: tuple[Message, ...] = ()
    """Chat: OpenAI messages, untouched; the last is by the assistant."""
    text: str = ""
    """Text: the whole text."""
    label: str | None = None
    """Classification: the class, which is also the completion."""
    tools: tuple[Mapping[str, Any], ...] | None = None
    """Chat: the tools the assistant may call, untouched."""
    rejected: Message | None = None
    """Preference: the answer that is worse than the last message."""
    weight: float = 1.0
    """How often an epoch draws it: its file's weight."""

    @property
    def prompt_messages(self) -> tuple[Message, ...]:
        """All messages but the last; none for a text record."""
        return self.messages[:-1]

    @property
    def prompt(self) -> str:
        """The text of the prompt messages, one after the other, without what the operator says (system, developer)."""
        spoken = (message for message in self.prompt_messages if message["role"] not in OPERATOR_ROLES)
        return "\n".join(content_text(message) for message in spoken)

    @property
    def rejected_messages(self) -> tuple[Message, ...]:
        """Preference: the conversation as it ends with the worse answer."""
        assert self.rejected is not None, "only a preference pair has a rejected answer"
        return (*self.prompt_messages, self.rejected)

    @property
    def completion(self) -> str:
        """The text to be learnt: the last message's content (empty when it only calls tools), or the whole text."""
        return content_text(self.messages[-1]) if self.kind == "chat" else self.text
