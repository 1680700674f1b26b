"""A chat model that writes, such as the one behind the operator's URL."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from corpus.synthetic.writing import Ask, Reply
from evaluation.errors import JudgeRefusedError, JudgeUnavailableError
from evaluation.judging.chat import Chat
from evaluation.settings import GenerationSettings
from service.generation.errors import WriterUnavailableError
from service.generation.form import as_messages

_AT_ONCE = 8


class ChatWriter:
    """Implements `corpus.synthetic.writing.Writer`.

    Args:
        chat: the model.
        temperature: of sampling.
    """

    def __init__(self, chat: Chat, *, temperature: float) -> None:
        self._chat = chat
        self._temperature = temperature
        self.name = chat.name
        self.digest = None

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """Asks the model to continue each text, several at a time.

        Raises:
            WriterUnavailableError: it cannot be asked.
        """
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="writer") as pool:
            asked = {pool.submit(self._reply, ask): position for position, ask in enumerate(asks)}
            try:
                for done in as_completed(asked):
                    yield asked[done], done.result()
            except JudgeUnavailableError as error:
                raise WriterUnavailableError(self.name, error.reason) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _reply(self, ask: Ask) -> Reply:
        settings = GenerationSettings(
            max_tokens=ask.max_tokens, temperature=self._temperature, seed=ask.seed, stop=ask.stop
        )
        try:
            said = self._chat.answer(as_messages(ask), settings)
        except JudgeRefusedError:
            return Reply(text="", finish_reason="prompt_too_long")
        return Reply(text=said.text, finish_reason=said.finish_reason)
