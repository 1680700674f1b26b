"""Evaluating models on records: the encoding that training uses, the scores of `evaluation`, the engine underneath."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from base.errors import RenderingError
from corpus.messages import content_text
from corpus.records import Record
from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.evaluate import evaluate
from evaluation.results import ModelResult
from evaluation.settings import GenerationSettings
from service.engine.sampler import EngineSampler, Route
from service.inference import Inference
from service.target import Target
from training.rows.examples import Encoder

DEFAULT_METRICS = ("loss", "perplexity", "token_accuracy", "exact_match", "rouge_l")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """Which models are measured, on what and how."""

    models: tuple[str | None, ...]
    """References; None is the base."""
    records: tuple[Record, ...]
    metrics: tuple[str, ...] = DEFAULT_METRICS
    generation: GenerationSettings


def evaluate_models(
    inference: Inference,
    tenant: str,
    request: EvaluationRequest,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ModelResult]:
    """Measures all models on all records in mixed batches; results come in the order of `request.models`.

    A result's `model` is the pinned reference that answered, or the base's public name.

    Raises:
        AdapterError: a model cannot be resolved.
        EvaluationError: a record cannot be made a case, or a metric is unknown.
        EngineError: a case exceeds the context, or the engine cannot take it.
    """
    targets = [inference.resolve(tenant, model) for model in request.models]
    sampler = EngineSampler(inference.engine, lambda model: _route(inference.resolve(tenant, model)))
    results: dict[str, ModelResult] = {}
    # Adapters may render prompts differently; those that render alike share their cases and run in one batch.
    by_rendering = sorted(targets, key=lambda target: target.renderer.identity.kind)
    for _, group in groupby(by_rendering, key=lambda target: target.renderer.identity.kind):
        members = list(group)
        cases = [_case(inference, members[0], index, record) for index, record in enumerate(request.records)]
        models = [target.model for target in members]
        found = evaluate(sampler, models, cases, request.metrics, request.generation, on_progress)
        results |= {target.model: result for target, result in zip(members, found, strict=True)}
    return [replace(results[target.model], model=target.model) for target in targets]


def _route(target: Target) -> Route:
    return Route(adapters=target.adapters, stop_ids=target.stop_ids, tenant=target.tenant)


def _case(inference: Inference, target: Target, index: int, record: Record) -> Case:
    try:
        example = Encoder(inference.base.tokenizer, target.renderer)(record)
        prompt_ids = target.renderer.prompt(record.prompt_messages, record.tools) if record.kind == "chat" else []
    except RenderingError as error:
        raise CaseError(f"case {index} ({record.file}:{record.line}): {error}") from error
    # The first token of a text is predicted by nothing, so it is context.
    labelled = [at for at, flag in enumerate(example.labelled) if flag and at > 0]
    if not labelled:
        raise CaseError(f"case {index} ({record.file}:{record.line}): no token to score; give it a completion")
    first, end = labelled[0], labelled[-1] + 1
    return Case(
        index=index,
        prompt_text=content_text(record.prompt_messages[-1]) if record.prompt_messages else "",
        reference=record.completion,
        prompt_ids=tuple(prompt_ids),
        context_ids=example.input_ids[:first],
        continuation_ids=example.input_ids[first:end],
        labelled=example.labelled[first:end],
    )
