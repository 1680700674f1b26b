"""From what somebody asks for to a run: models pinned, scorers and cases checked, a judge at hand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

from evaluation.cases import Case
from evaluation.errors import CaseTooLongError, RepeatedModelError
from evaluation.judging.chat_judge import ChatJudge
from evaluation.judging.judge import Judge
from evaluation.plan import Plan
from evaluation.runs.run import NewRun, RunModel, SuiteIdentity
from evaluation.scorers.spec import ScorerSpec
from evaluation.settings import GREEDY, GenerationSettings
from evaluation.suites.suite import Suite
from service.evaluation.encoding import DEFAULT_SCORERS, cases_of
from service.evaluation.judges import open_judge, open_remote_chat
from service.inference.inference import Inference
from service.inference.target import Target
from service.settings import Settings

_JUDGE = "judge"
"""The scorer that asks one."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A run that somebody asks for."""

    models: tuple[str | None, ...]
    """References; None is the base."""
    suite: Suite
    name: str | None = None
    """Of the suite, where it has one."""
    scorers: tuple[ScorerSpec, ...] = ()
    """Empty: the suite's."""
    max_tokens: int | None = None
    """None: the suite's, or the server's for cases that come without any, and no more than the context allows."""
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    actor: str
    judge: str | None = None
    """Reference of the model that judges, where a scorer asks for one; None: the operator's."""


def new_run(settings: Settings, inference: Inference, tenant: str, wanted: Wanted) -> NewRun:
    """The run with its models pinned, once every case is seen to be one that its scorers can measure.

    Raises:
        AdapterError: a model cannot be resolved.
        EvaluationError: a scorer or a case cannot be used, or a model is named twice; says which case and why.
        JudgeUnavailableError: a scorer asks for the operator's judge, and there is none.
    """
    targets = [inference.resolve(tenant, model) for model in wanted.models]
    names = [target.model for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise RepeatedModelError(f"The model {name!r} is named {names.count(name)} times.")
    scorers = scorers_of(wanted.scorers, wanted.suite)
    asked = Judging(settings=settings, inference=inference, tenant=tenant, model=wanted.judge)
    with judge_of(asked, wanted.suite, scorers) as judge:
        cases = cases_of(inference, targets[0], wanted.suite, range(len(wanted.suite.cases)))
        plan = Plan(cases, scorers, judge)
        plan.check()
    asked_of = [cases[place] for place in plan.places("text")]
    most = min(_default_max_tokens(settings, wanted), settings.max_new_tokens)
    generation = _generation(wanted, asked_of, most, inference.engine.context_tokens)
    _check_lengths(cases, inference.engine.context_tokens)
    return NewRun(
        suite=SuiteIdentity(name=wanted.name, digest=wanted.suite.digest, num_cases=len(wanted.suite.cases)),
        models=tuple(_pinned(inference, *each) for each in zip(wanted.models, targets, strict=True)),
        scorers=wanted.scorers,
        generation=generation,
        base_digest=inference.base.digest,
        actor=wanted.actor,
        judge=None if wanted.judge is None else inference.resolve(tenant, wanted.judge).model,
    )


def scorers_of(asked: tuple[ScorerSpec, ...], suite: Suite) -> tuple[ScorerSpec, ...]:
    """Those of the request, else the suite's, else the ones that need nothing but a completion."""
    return asked or suite.scorers or DEFAULT_SCORERS


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Who judges, if anybody has to."""

    settings: Settings
    inference: Inference | None
    """None: there is no model of this process, only the operator's."""
    tenant: str
    model: str | None
    """Reference; None: the operator's."""


@contextmanager
def judge_of(asked: Judging, suite: Suite, scorers: tuple[ScorerSpec, ...]) -> Iterator[Judge | None]:
    """The judge that the scorers ask for, for the time of the block; None where none does.

    Raises:
        AdapterError: the model that is to judge means nothing.
        JudgeUnavailableError: the operator's is asked for, and none is set.
    """
    specs = chain(scorers, *(case.scorers or () for case in suite.cases))
    if all(spec.name != _JUDGE for spec in specs):
        yield None
        return
    with opened_judge(asked) as judge:
        yield judge


@contextmanager
def opened_judge(asked: Judging) -> Iterator[Judge]:
    """The judge, for the time of the block.

    Raises:
        AdapterError: the model that is to judge means nothing.
        JudgeUnavailableError: the operator's is asked for, and none is set.
    """
    if asked.model is not None:
        assert asked.inference is not None
        yield open_judge(asked.settings, asked.inference, asked.tenant, asked.model)
        return
    chat = open_remote_chat(asked.settings)
    try:
        yield ChatJudge(chat)
    finally:
        chat.close()


def _check_lengths(cases: Sequence[Case], context_tokens: int) -> None:
    for case in cases:
        scored = len(case.context_ids) + len(case.continuation_ids)
        chosen = [len(case.choice_context_ids) + len(choice) for choice in case.choices]
        _check_length(case, max(scored, *chosen, 0), context_tokens)


def _check_length(case: Case, tokens: int, context_tokens: int) -> None:
    if tokens > context_tokens:
        raise CaseTooLongError(
            f"case {case.index} needs {tokens} tokens, and the context of this base has {context_tokens}; shorten it, "
            "or ask for fewer max_tokens"
        )


def _pinned(inference: Inference, asked: str | None, target: Target) -> RunModel:
    digest = inference.base.digest if target.version is None else target.version.digest
    return RunModel(asked=asked, model=target.model, digest=digest)


def _default_max_tokens(settings: Settings, wanted: Wanted) -> int:
    unsaid = wanted.name is None and wanted.suite.generation == GREEDY
    return settings.default_max_tokens if unsaid else wanted.suite.generation.max_tokens


def _generation(wanted: Wanted, cases: Sequence[Case], most: int, context_tokens: int) -> GenerationSettings:
    """How answers to these cases are generated; at most `most` tokens, or what the context leaves, unless asked."""
    changes = {
        name: value
        for name in ("max_tokens", "temperature", "seed", "stop")
        if (value := getattr(wanted, name)) is not None
    }
    settings = replace(wanted.suite.generation, **changes)
    if wanted.max_tokens is None:
        room = context_tokens - max((len(case.prompt_ids) for case in cases), default=0)
        settings = replace(settings, max_tokens=max(1, min(most, room)))
    for case in cases:
        _check_length(case, len(case.prompt_ids) + settings.max_tokens, context_tokens)
    return settings
