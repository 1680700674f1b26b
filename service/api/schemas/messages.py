"""Chat messages as they come in."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from service.api.schemas.schema import Schema, Text
from service.api.schemas.unsupported import without_neutral

_ANSWER_ONLY: dict[str, tuple[Any, ...]] = {
    "refusal": (None,),
    "annotations": (None, []),
    "audio": (None,),
    "function_call": (None,),
    "tool_calls": (None, []),
    "tool_call_id": (None,),
}
"""Keys of OpenAI's messages that say nothing at these values; clients send back what they were answered."""


class TextPart(Schema):
    """One part of a content list."""

    type: Literal["text"]
    text: Text


def _content_kind(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<parts>" if isinstance(value, list) else None


Content = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[list[TextPart], Field(min_length=1, max_length=256), Tag("<parts>")],
    Discriminator(
        _content_kind,
        custom_error_type="invalid_value",
        custom_error_message="must be a string or a list of parts of type text",
    ),
]


class ChatMessage(Schema):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: str | None = Field(default=None, max_length=64)

    @classmethod
    def known_only(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Also leaves out what only answers have."""
        return super().known_only(without_neutral(data, _ANSWER_ONLY))

    @property
    def text(self) -> str:
        """The content; parts are joined."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def rendered(self) -> dict[str, str]:
        """What templates take."""
        message = {"role": self.role, "content": self.text}
        return message if self.name is None else {**message, "name": self.name}


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
