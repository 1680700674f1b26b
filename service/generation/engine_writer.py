"""A model of this process's engine that writes: the base, or an adapter."""

from collections.abc import Iterator, Sequence

from base.rendering import raw
from corpus.synthetic.writing import Ask, Reply
from evaluation.sampler import GenerateRequest
from service.engine.sampler import EngineSampler, Route
from service.generation.form import WritingForm, as_messages
from service.inference.inference import Inference

_LEAST_TOKENS = 16
"""Room for an answer, below which there is no sense in asking."""


class EngineWriter:
    """Implements `corpus.synthetic.writing.Writer`.

    Args:
        inference: the base and its engine.
        tenant: whose adapters.
        model: reference; None is the base.
        temperature: of sampling.
        form: how the model is asked.
    """

    def __init__(
        self, inference: Inference, tenant: str, model: str | None, *, temperature: float, form: WritingForm = "text"
    ) -> None:
        self._inference = inference
        self._target = target = inference.resolve(tenant, model)
        self._temperature = temperature
        self._form = form
        # Pinned: what is published meanwhile changes nothing here.
        route = Route(adapters=target.adapters, stop_ids=target.stop_ids, tenant=target.tenant)
        self._sampler = EngineSampler(inference.engine, lambda _model: route)

    @property
    def name(self) -> str:
        """The base's id, or the pinned `name:N`."""
        return self._target.model

    @property
    def digest(self) -> str:
        """Of the version, or of the base."""
        version = self._target.version
        return self._inference.base.digest if version is None else version.digest

    def write(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """Continues each text, all in one batch."""
        requests: list[tuple[int, GenerateRequest]] = []
        for position, ask in enumerate(asks):
            prompt_ids = self._tokens(ask)
            room = self._inference.base.context_tokens - len(prompt_ids)
            if room < _LEAST_TOKENS:
                yield position, Reply(text="", finish_reason="prompt_too_long")
                continue
            requests.append((position, self._request(prompt_ids, ask, room)))
        for completion in self._sampler.generate([request for _, request in requests]):
            position = requests[completion.index][0]
            yield position, Reply(text=completion.text, finish_reason=completion.finish_reason)

    def _tokens(self, ask: Ask) -> list[int]:
        if self._form == "text":
            return raw(self._inference.base.tokenizer, ask.text)
        return self._inference.render(self._target, as_messages(ask))

    def _request(self, prompt_ids: list[int], ask: Ask, room: int) -> GenerateRequest:
        return GenerateRequest(
            model=None,
            prompt_ids=tuple(prompt_ids),
            max_tokens=min(ask.max_tokens, room),
            temperature=self._temperature,
            seed=ask.seed,
            stop=ask.stop,
        )
