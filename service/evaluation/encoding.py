"""Suites as a model sees them: cases in the encoding that training uses, and the engine that is asked."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, cast

from base.errors import RenderingError
from corpus.messages import Message, content_text
from corpus.records import Record
from evaluation.cases import Case
from evaluation.errors import CaseError
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.suite import Suite, SuiteCase
from service.engine.sampler import EngineSampler, Route
from service.inference.inference import Inference
from service.inference.target import Target
from training.rows.examples import Encoder

DEFAULT_METRICS = ("loss", "perplexity", "token_accuracy", "exact_match", "rouge_l")
DEFAULT_SCORERS = tuple(ScorerSpec(name) for name in DEFAULT_METRICS)
"""Where neither a request nor its suite names any."""


def sampler_of(inference: Inference, targets: Iterable[Target]) -> EngineSampler:
    """The engine, which knows these targets by their public names."""
    routes = {
        target.model: Route(adapters=target.adapters, stop_ids=target.stop_ids, tenant=target.tenant)
        for target in targets
    }
    return EngineSampler(inference.engine, lambda model: routes[cast(str, model)])


def by_rendering(targets: Iterable[Target]) -> Iterator[list[Target]]:
    """Adapters may render prompts differently; those that render alike share their cases and run in one batch."""
    in_order = sorted(targets, key=_rendering)
    for _, group in groupby(in_order, key=_rendering):
        yield list(group)


def cases_of(inference: Inference, target: Target, suite: Suite, indexes: Iterable[int]) -> list[Case]:
    """Some of a suite's cases, as a target's tokenizer and template have them.

    Raises:
        CaseError: names the case that cannot be rendered, or has nothing to score.
    """
    return [_case(inference, target, index, suite.cases[index]) for index in indexes]


def _rendering(target: Target) -> str:
    return target.renderer.identity.kind


def _case(inference: Inference, target: Target, index: int, given: SuiteCase) -> Case:
    question = question_of(given)
    try:
        prompt_ids = target.renderer.prompt(question, _tools(given)) if question else []
        labels = {} if given.completion is None else _labels(inference, target, index, given)
    except RenderingError as error:
        raise CaseError(f"case {index}: {error}") from error
    encode = inference.base.tokenizer
    return Case(
        index=index,
        prompt_text=content_text(question[-1]) if question else "",
        reference=given.completion or "",
        prompt_ids=tuple(prompt_ids),
        choices=tuple(tuple(encode(text, add_special_tokens=False)["input_ids"]) for text in given.choices),
        choice_texts=given.choices,
        choice_context_ids=tuple(prompt_ids) if given.choices else (),
        gold=given.gold,
        fields=given.fields,
        messages=tuple(question),
        scorers=given.scorers,
        tags=given.tags,
        **labels,
    )


def _labels(inference: Inference, target: Target, index: int, given: SuiteCase) -> dict[str, Any]:
    """The fields of `Case` that say which tokens are expected."""
    example = Encoder(inference.base.tokenizer, target.renderer)(_record(index, given))
    # The first token of a text is predicted by nothing, so it is context.
    labelled = [at for at, flag in enumerate(example.labelled) if flag and at > 0]
    if not labelled:
        return {}
    first, end = labelled[0], labelled[-1] + 1
    return {
        "context_ids": example.input_ids[:first],
        "continuation_ids": example.input_ids[first:end],
        "labelled": example.labelled[first:end],
    }


def question_of(given: SuiteCase) -> tuple[Message, ...]:
    """What is asked in a case, as a conversation; empty where a text is only scored."""
    return given.messages if given.prompt is None else ({"role": "user", "content": given.prompt},)


def _tools(given: SuiteCase) -> tuple[Mapping[str, Any], ...] | None:
    tools = cast("list[Mapping[str, Any]] | None", given.fields.get("tools"))
    return None if tools is None else tuple(tools)


def _record(index: int, given: SuiteCase) -> Record:
    assert given.completion is not None
    prompt = question_of(given)
    if not prompt:
        return Record(kind="text", file="", line=index, row={}, text=given.completion)
    return Record(
        kind="chat",
        file="",
        line=index,
        row={},
        messages=(*prompt, {"role": "assistant", "content": given.completion}),
        tools=_tools(given),
    )
