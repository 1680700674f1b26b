"""A model behind the `Sampler` seam, as the harness sees one.

Texts become tokens as the harness's own `hf` backend has it: context and continuation are encoded together, spaces at a
context's end belong to the continuation, the tokenizer's own special tokens are added unless the text begins with
them, and what is too long loses its beginning.
"""

from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evaluation.errors import SettingsError
from evaluation.harness.answers import Answers, Pair, Question

_MAX_NEW_TOKENS = 256
"""The harness's own bound for tasks that say none."""
_IGNORED = {"until", "max_gen_toks", "do_sample", "temperature"}

Request = tuple[tuple[str, str], list[int], list[int]]
"""Texts and tokens of a context and a continuation."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    eos_token_id: int
    bos_token_id: int | None
    name_or_path: str

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Tokens of a text."""
        ...

    def decode(self, token_ids: Any) -> str:
        """Text of tokens, special ones included."""
        ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any:
        """A conversation as one text."""
        ...


class SamplerModel(TemplateLM):  # type: ignore[misc] # the harness has no annotations
    """One model of `answers`.

    Args:
        answers: of all models that are measured together.
        model: adapter reference; None is the base.
        tokenizer: the base's.
        context_tokens: the longest sequence.
    """

    def __init__(self, answers: Answers, model: str | None, tokenizer: Tokenizer, context_tokens: int) -> None:
        super().__init__()
        self._answers = answers
        self._model = model
        self.tokenizer = tokenizer
        self.max_length = context_tokens
        self._encoded: dict[str, list[int]] = {}

    @property
    def eot_token_id(self) -> int:
        """Ends a text."""
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """Stands where a context is empty."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """Tells the templates of different bases apart."""
        return self.tokenizer.name_or_path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Tokens of a text."""
        del kwargs
        if add_special_tokens is None:
            add_special_tokens = not has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id))
        return self.tokenizer.encode(string, add_special_tokens=add_special_tokens)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as one text; without a generation prompt its last message is to be gone on with."""
        text: str = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """How likely whole texts are, in windows of the context's length."""
        del disable_tqdm
        return [self._rolling(request.args[0]) for request in requests]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers up to the first of the texts that end them."""
        del disable_tqdm
        questions = [self._question(*request.args) for request in requests]
        texts = self._answers.texts(self._model, questions)
        return [
            postprocess_generated_text(text, list(question.stop), None)
            for text, question in zip(texts, questions, strict=True)
        ]

    def _loglikelihood_tokens(self, requests: list[Request], **kwargs: Any) -> list[tuple[float, bool]]:
        del kwargs
        pairs = [self._pair(context, continuation) for _, context, continuation in requests]
        return [(sum(each.logprobs), all(each.is_greedy)) for each in self._answers.scores(self._model, pairs)]

    def _pair(self, context: list[int], continuation: list[int]) -> Pair:
        # The last token is not computed, so one more fits; the continuation is never cut.
        kept = (context + continuation)[-(self.max_length + 1) :]
        num_context = len(kept) - len(continuation)
        return tuple(kept[:num_context]), tuple(kept[num_context:])

    def _rolling(self, text: str) -> float:
        windows = get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        )
        requests = [(("", text), *make_disjoint_window(window)) for window in windows]
        return sum(logprob for logprob, _ in self._loglikelihood_tokens(requests))

    def _question(self, prompt: str, arguments: dict[str, Any]) -> Question:
        wanted = normalize_gen_kwargs(arguments, _MAX_NEW_TOKENS)
        if unknown := sorted(set(wanted) - _IGNORED):
            raise SettingsError(f"the task generates with {unknown[0]!r}, which the sampler does not have.")
        most = self.max_length - wanted["max_gen_toks"]
        if most < 1:
            raise SettingsError(
                f"the task asks for {wanted['max_gen_toks']} new tokens, and {self.max_length} are all that the base "
                "takes in; set max_gen_toks lower."
            )
        stop = handle_stop_sequences(wanted.get("until"), eos=self.tokenizer.decode(self.eot_token_id))
        return Question(
            prompt_ids=tuple(self.tok_encode(prompt)[-most:]),
            max_tokens=wanted["max_gen_toks"],
            temperature=wanted["temperature"],
            stop=tuple(text for text in stop if text),
        )
