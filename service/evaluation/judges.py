"""Opens judges: an adapter or the base of this server, or the model behind the operator's URL."""

from collections.abc import Sequence

from corpus.messages import Message
from evaluation.errors import JudgeUnavailableError
from evaluation.judging.chat import Chat, SamplerChat
from evaluation.judging.chat_judge import ChatJudge
from evaluation.judging.remote_chat import Endpoint, RemoteChat
from evaluation.sampler import Sampler
from service.engine.sampler import EngineSampler, Route
from service.inference.inference import Inference
from service.settings import Settings


def open_remote_chat(settings: Settings) -> RemoteChat:
    """The model behind `LORAD_JUDGE_URL`; whoever opens it closes it.

    Raises:
        JudgeUnavailableError: the operator has set none.
    """
    if settings.judge_url is None or settings.judge_model is None:
        raise JudgeUnavailableError(
            "operator", "none is set; name an adapter, or set LORAD_JUDGE_URL and LORAD_JUDGE_MODEL on the server"
        )
    key = settings.judge_api_key
    return RemoteChat(
        Endpoint(
            url=settings.judge_url,
            model=settings.judge_model,
            api_key=None if key is None else key.get_secret_value(),
        )
    )


def open_sampler_chat(inference: Inference, tenant: str, model: str | None) -> Chat:
    """A model of this server.

    Args:
        inference: runs it.
        tenant: whose references are meant.
        model: an adapter's reference, pinned now; None or the base's name: the base.

    Raises:
        AdapterError: the reference means nothing.
    """
    target = inference.resolve(tenant, model)
    route = Route(adapters=target.adapters, stop_ids=target.stop_ids, tenant=tenant)
    sampler: Sampler = EngineSampler(inference.engine, lambda _model: route)

    def render(messages: Sequence[Message]) -> Sequence[int]:
        return inference.render(target, messages)

    return SamplerChat(
        sampler, target.model, name=target.model, render=render, context_tokens=inference.engine.context_tokens
    )


def open_judge(settings: Settings, inference: Inference, tenant: str, model: str | None) -> ChatJudge:
    """A judge: the adapter or base that `model` names, or the operator's where it names none.

    Raises:
        AdapterError: the reference means nothing.
        JudgeUnavailableError: no model was named, and the operator has set none.
    """
    return ChatJudge(open_remote_chat(settings) if model is None else open_sampler_chat(inference, tenant, model))
