"""Opens what a generation is written and rated by."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from corpus.synthetic.judging import Judging
from corpus.synthetic.writing import Writer
from evaluation.judging.chat_judge import ChatJudge
from evaluation.judging.judge import Judge
from evaluation.judging.remote_chat import RemoteChat
from service.evaluation.judges import open_judge, open_remote_chat
from service.generation.chat_writer import ChatWriter
from service.generation.engine_writer import EngineWriter
from service.generation.judging import judging_by
from service.generation.request import GenerationOptions, ModelChoices
from service.inference.inference import Inference
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Models:
    """What writes, and what rates."""

    writer: Writer
    judging: Judging | None


@contextmanager
def open_models(
    settings: Settings, inference: Inference | None, tenant: str, choices: ModelChoices, options: GenerationOptions
) -> Iterator[Models]:
    """The models, for the time of the block.

    Args:
        settings: the operator's.
        inference: needed where `choices.needs_engine`.
        tenant: whose adapters.
        choices: which models.
        options: how they are asked.

    Raises:
        AdapterError: a reference means nothing.
        JudgeUnavailableError: the operator has set no model.
    """
    with ExitStack() as opened:
        remote = None
        if choices.needs_operator:
            remote = open_remote_chat(settings)
            opened.callback(remote.close)
        writer = _writer(inference, remote, tenant, choices, options)
        judge = _judge(settings, inference, remote, tenant, choices)
        judging = None if judge is None else judging_by(judge, options.recipe, options.min_judged)
        yield Models(writer=writer, judging=judging)


def _writer(
    inference: Inference | None,
    remote: RemoteChat | None,
    tenant: str,
    choices: ModelChoices,
    options: GenerationOptions,
) -> Writer:
    if choices.writer == "operator":
        assert remote is not None
        return ChatWriter(remote, temperature=options.temperature)
    assert inference is not None
    return EngineWriter(inference, tenant, choices.model, temperature=options.temperature, form=options.form)


def _judge(
    settings: Settings, inference: Inference | None, remote: RemoteChat | None, tenant: str, choices: ModelChoices
) -> Judge | None:
    if choices.judged_by == "nobody":
        return None
    if choices.judged_by == "operator":
        assert remote is not None
        return ChatJudge(remote)
    assert inference is not None
    return open_judge(settings, inference, tenant, choices.judge or inference.model_name)
