from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from base.source import BaseSource
from corpus.messages import Message
from corpus.synthetic.writing import Ask, Writer
from evaluation.errors import JudgeRefusedError, JudgeUnavailableError
from evaluation.judging.chat import Turn
from evaluation.settings import GenerationSettings
from service.generation.chat_writer import ChatWriter
from service.generation.engine_writer import EngineWriter
from service.generation.errors import WriterUnavailableError
from service.inference.inference import Inference
from service.registry.opening import open_registry
from service.settings import Settings


def ask(text: str, seed: int = 1, max_tokens: int = 12) -> Ask:
    return Ask(text=text, max_tokens=max_tokens, stop=("\n",), seed=seed)


class FakeChat:
    """Answers with the ask's text in capitals."""

    name = "big"

    def __init__(self, *, is_down: bool = False) -> None:
        self.is_down = is_down
        self.settings: list[GenerationSettings] = []

    def answer(self, messages: Sequence[Message], settings: GenerationSettings) -> Turn:
        """See `Chat`."""
        if self.is_down:
            raise JudgeUnavailableError(self.name, "it cannot be reached")
        if "too long" in str(messages[-1]["content"]):
            raise JudgeRefusedError(self.name, "it answered with status 413")
        self.settings.append(settings)
        text = str(messages[-1]["content"]).upper()
        return Turn(text, "length" if "cut" in text.lower() else "stop")


def test_a_chat_is_asked_to_continue_each_text() -> None:
    chat = FakeChat()
    replies = dict(ChatWriter(chat, temperature=0.4).write([ask("one", 1), ask("two", 2)]))

    assert [replies[position].text for position in (0, 1)] == ["ONE", "TWO"]
    assert {(each.temperature, each.max_tokens, each.stop) for each in chat.settings} == {(0.4, 12, ("\n",))}
    assert {each.seed for each in chat.settings} == {1, 2}


def test_a_chat_that_is_down_says_so_of_the_writer() -> None:
    with pytest.raises(WriterUnavailableError, match="'big' cannot be asked for rows: it cannot be reached"):
        list(ChatWriter(FakeChat(is_down=True), temperature=0).write([ask("one")]))


def test_what_a_chat_refuses_takes_nothing_from_the_others() -> None:
    replies = dict(ChatWriter(FakeChat(), temperature=0).write([ask("too long"), ask("one")]))

    assert (replies[0].text, replies[0].finish_reason) == ("", "prompt_too_long")
    assert replies[1].text == "ONE"


def test_what_was_cut_off_is_told() -> None:
    replies = dict(ChatWriter(FakeChat(), temperature=0).write([ask("cut here"), ask("one")]))

    assert [replies[position].finish_reason for position in (0, 1)] == ["length", "stop"]


@pytest.fixture(scope="module")
def inference(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), device="cpu", kv_cache_memory_bytes=4 << 20)
    registry = open_registry(settings)
    opened = Inference.open(BaseSource("tiny", tiny_base_folder), registry, settings)
    yield opened
    opened.close()
    registry.database.dispose()


def test_the_base_writes_under_its_name_and_digest(inference: Inference) -> None:
    writer: Writer = EngineWriter(inference, "default", None, temperature=0.7)

    assert (writer.name, writer.digest) == ("tiny", inference.base.digest)


@pytest.mark.parametrize("form", ["text", "chat"])
def test_the_same_seed_writes_the_same_whatever_else_is_asked(inference: Inference, form: str) -> None:
    writer = EngineWriter(inference, "default", None, temperature=0.9, form=form)  # type: ignore[arg-type]
    alone = dict(writer.write([ask("the ticket", 5)]))
    among = dict(writer.write([ask("an order", 6), ask("the ticket", 5), ask("the ticket", 7)]))

    assert among[1] == alone[0]
    assert among[2].text != among[1].text


def test_texts_and_chats_are_asked_otherwise(inference: Inference) -> None:
    texts = [
        dict(EngineWriter(inference, "default", None, temperature=0, form=form).write([ask("the ticket")]))[0].text
        for form in ("text", "chat")
    ]

    assert texts[0] != texts[1]


def test_what_does_not_fit_the_context_is_not_asked(inference: Inference) -> None:
    writer = EngineWriter(inference, "default", None, temperature=0.7)
    replies = dict(writer.write([ask("x" * 500), ask("the ticket", max_tokens=10_000)]))

    assert replies[0].finish_reason == "prompt_too_long"
    assert replies[1].finish_reason in ("stop", "length")
