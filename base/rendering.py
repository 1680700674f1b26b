"""Conversations to token ids and loss mask: one function for training, serving and evaluation.

A prompt rendered here is, token for token, the beginning of the training row rendered here; anything else would be
a silent loss of quality. Two templates: the chat template of the base, and a plain instruction template for bases
that have none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from base.errors import RenderingError

Message = Mapping[str, Any]
Tools = Sequence[Mapping[str, Any]] | None
TemplateKind = Literal["chat", "plain"]
TemplateChoice = Literal["auto", "chat", "plain"]

_PLAIN_TEMPLATE = "### Instruction:\n{user}\n\n### Response:\n{assistant}"
_ANSWER = "lorad-probe-answer"
"""Any text that no template contains."""


@dataclass(frozen=True)
class Example:
    """A tokenised row. `labelled[i]` says whether the prediction of `input_ids[i]` counts in the loss."""

    input_ids: tuple[int, ...]
    labelled: tuple[bool, ...]

    @property
    def num_labelled(self) -> int:
        """How many tokens count in the loss; the first token of a row is predicted from nothing and never does."""
        return sum(self.labelled[1:])

    def truncated(self, max_length: int) -> "Example":
        """The first `max_length` tokens."""
        return Example(self.input_ids[:max_length], self.labelled[:max_length])


@dataclass(frozen=True)
class RenderingIdentity:
    """What an adapter was trained with; a base that renders otherwise would serve it silently worse."""

    kind: TemplateKind
    template: str
    """The template's text."""
    preamble: str
    """What the template puts before a first user turn, a default system prompt included."""
    end_of_turn_ids: tuple[int, ...]


class Renderer(Protocol):
    """One template bound to one tokenizer."""

    @property
    def identity(self) -> RenderingIdentity:
        """The template's text and what follows from it."""

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """Token ids up to where the assistant begins to answer."""

    def conversation(self, messages: Sequence[Message], tools: Tools = None) -> Example:
        """A training row in which every assistant turn and its end-of-turn token is labelled.

        Raises:
            RenderingError: a prompt's tokens are not the beginning of the whole conversation's tokens.
        """


def create_renderer(tokenizer: PreTrainedTokenizerBase, template: TemplateChoice = "auto") -> Renderer:
    """The renderer of `tokenizer`: `auto` takes its chat template where it has a usable one, else the plain.

    Raises:
        RenderingError: `chat` is asked for and the base has no chat template, or one that closes no turn.
    """
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if template == "chat" and not has_template:
        raise RenderingError("template chat: this base's tokenizer has no chat template; use template plain or auto")
    if template == "plain" or not has_template:
        return PlainRenderer(tokenizer)
    try:
        return ChatRenderer(tokenizer)
    except RenderingError:
        if template == "chat":
            raise
        # A template that closes no turn cannot be learnt from: the plain one can, in training and serving alike.
        return PlainRenderer(tokenizer)


def document(tokenizer: PreTrainedTokenizerBase, text: str) -> Example:
    """Raw text for continued pretraining: every token is labelled, the end-of-text token included."""
    ids = [*raw(tokenizer, text), _end_of_text(tokenizer)]
    return Example(tuple(ids), (True,) * len(ids))


def raw(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of `text` with no template, the tokenizer's own beginning-of-sequence token included."""
    return [int(token) for token in tokenizer(text)["input_ids"]]


def stop_ids(model: Any, renderer: Renderer, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends an answer: the template's end of turn and the model's own end tokens."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ends = own if isinstance(own, list) else [own]
    candidates = [*renderer.identity.end_of_turn_ids, *ends, tokenizer.eos_token_id]
    return frozenset(int(token) for token in candidates if token is not None)


class ChatRenderer:
    """Renders by the chat template that the base's tokenizer carries."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.identity = RenderingIdentity(
            kind="chat",
            template=str(tokenizer.chat_template),
            preamble=self._preamble(),
            end_of_turn_ids=self._end_of_turn(),
        )

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """Token ids up to where the assistant begins to answer."""
        return self._render(messages, tools, answer_next=True)

    def conversation(self, messages: Sequence[Message], tools: Tools = None) -> Example:
        """A training row; see `Renderer.conversation`."""
        input_ids = self._render(messages, tools, answer_next=False)
        labelled = [False] * len(input_ids)
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                start, end = self._answer_span(messages, index, tools, input_ids)
                labelled[start:end] = [True] * (end - start)
        return Example(tuple(input_ids), tuple(labelled))

    def _answer_span(
        self, messages: Sequence[Message], index: int, tools: Tools, input_ids: list[int]
    ) -> tuple[int, int]:
        before = self._render(messages[:index], tools, answer_next=True)
        last = index + 1 == len(messages)
        after = input_ids if last else self._render(messages[: index + 1], tools, answer_next=False)
        if input_ids[: len(before)] != before or input_ids[: len(after)] != after:
            raise RenderingError(
                f"the chat template rewrites the conversation around message {index}: its prompt is not a prefix of "
                "the whole, so the answer's tokens cannot be told apart; use --template plain"
            )
        ends = [at for at in range(len(before), len(after)) if after[at] in self.identity.end_of_turn_ids]
        if not ends:
            raise RenderingError(f"the chat template does not close message {index}; use --template plain")
        return len(before), ends[-1] + 1

    def _render(self, messages: Sequence[Message], tools: Tools, *, answer_next: bool) -> list[int]:
        return self._tokens(self._text(messages, tools, answer_next=answer_next))

    def _tokens(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _text(self, messages: Sequence[Message], tools: Tools, *, answer_next: bool) -> str:
        try:
            rendered = self._tokenizer.apply_chat_template(
                [_with_text_content(message) for message in messages],
                tools=None if tools is None else [dict(tool) for tool in tools],
                tokenize=False,
                add_generation_prompt=answer_next,
            )
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            raise RenderingError(f"the base's chat template refuses these messages: {error}") from error
        return str(rendered)

    def _preamble(self) -> str:
        return self._text([{"role": "user", "content": "\x00"}], None, answer_next=False).partition("\x00")[0]

    def _end_of_turn(self) -> tuple[int, ...]:
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _ANSWER}]
        # What follows the answer; before it a template may put marks of its own (Qwen3: an empty thought).
        _, _, closing = self._text(turns, None, answer_next=False).rpartition(_ANSWER)
        special = set(self._tokenizer.all_special_ids) | set(self._tokenizer.get_added_vocab().values())
        for token in self._tokens(closing):
            if token in special:
                return (token,)
        raise RenderingError("the base's chat template ends an answer with no special token; use --template plain")


class PlainRenderer:
    """Renders instruction and response under headings, for bases without a chat template.

    Turns are tokenised apart and joined, so a prompt is the beginning of its row by construction.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._start_ids = tuple(raw(tokenizer, ""))
        self.identity = RenderingIdentity(
            kind="plain",
            template=_PLAIN_TEMPLATE,
            preamble="### Instruction:\n",
            end_of_turn_ids=(_end_of_text(tokenizer),),
        )

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """Token ids up to where the assistant begins to answer."""
        return list(self._join(messages, tools).input_ids)

    def conversation(self, messages: Sequence[Message], tools: Tools = None) -> Example:
        """A training row; see `Renderer.conversation`."""
        return self._join(messages, tools)

    def _join(self, messages: Sequence[Message], tools: Tools) -> Example:
        if tools:
            raise RenderingError("the plain template has no place for tools; use a base with a chat template")
        input_ids, labelled = list(self._start_ids), [False] * len(self._start_ids)
        for index, message in enumerate(messages):
            answers = message["role"] == "assistant"
            ids = self._turn(message, first=index == 0)
            input_ids += ids
            labelled += [answers] * len(ids)
        return Example(tuple(input_ids), tuple(labelled))

    def _turn(self, message: Message, *, first: bool) -> list[int]:
        role, content = message["role"], _with_text_content(message).get("content")
        if not isinstance(content, str):
            raise RenderingError(f"the plain template takes text content, not {type(content).__name__}")
        gap = "" if first else "\n\n"
        if role == "assistant":
            return [*self._ids(content), *self.identity.end_of_turn_ids]
        if role == "system":
            return self._ids(f"{gap}{content}")
        if role == "user":
            return self._ids(f"{gap}### Instruction:\n{content}\n\n### Response:\n")
        raise RenderingError(f"the plain template has no place for role {role!r}; roles: system, user, assistant")

    def _ids(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]


def _with_text_content(message: Message) -> dict[str, Any]:
    """The message with OpenAI's list of text parts joined: templates of text models add content to text."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    if not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content):
        raise RenderingError("a message's content must be text or a list of text parts")
    return {**message, "content": "".join(part["text"] for part in content)}


def _end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    token = tokenizer.eos_token_id
    if not isinstance(token, int):
        raise RenderingError("this base's tokenizer names no end-of-text token (eos_token); set one in its folder")
    return token
