"""Texts to be continued as chats, for models that know nothing else."""

from typing import Literal

from corpus.messages import Message
from corpus.synthetic.writing import Ask

WritingForm = Literal["text", "chat"]
"""`text`: the model continues the text itself, as it was pretrained to; `chat`: it is asked to in a conversation."""

_REQUEST = (
    "Continue the user's text with what comes next in its pattern. Write only the continuation: no introduction, no "
    "heading, no explanation."
)


def as_messages(ask: Ask) -> tuple[Message, ...]:
    """The conversation in which a chat model is asked to continue a text."""
    return ({"role": "system", "content": _REQUEST}, {"role": "user", "content": ask.text})
