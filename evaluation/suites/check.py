"""What can be wrong with a suite before any tokenizer or model has seen it."""

import math
from collections.abc import Sequence
from dataclasses import replace

from corpus.errors import RowError
from corpus.messages import check_messages
from corpus.rows import defect
from evaluation.cases import Case
from evaluation.errors import EvaluationError
from evaluation.metrics import check_metrics
from evaluation.plan import Plan
from evaluation.suites.errors import InvalidSuiteError
from evaluation.suites.suite import Suite, SuiteCase

_TOKEN = (0,)
"""Stands for all tokens of a text."""


def check(suite: Suite) -> None:
    """Look at every case as its scorers would.

    Raises:
        InvalidSuiteError: there is no such scorer, a case lacks what one of its scorers needs, or a threshold is of
            nothing that is measured; says which case or metric.
    """
    check_form(suite)
    try:
        plan = _plan(suite)
        if plan is not None:
            plan.check()
        if suite.thresholds:
            check_metrics(tuple(suite.thresholds))
    except EvaluationError as error:
        raise InvalidSuiteError(str(error)) from error
    _check_thresholds(suite, _metrics(plan))


def metrics_of(suite: Suite) -> tuple[str, ...]:
    """What the suite's own scorers give; nothing where it leaves the choice of scorers to whoever runs it."""
    return _metrics(_plan(suite))


def check_form(suite: Suite) -> None:
    """Look at what no scorer looks at: roles and contents of messages, and whether all of it can be written as JSON.

    Raises:
        InvalidSuiteError: says which case and why.
    """
    # Numbers of thresholds are looked at by their metric.
    if reason := defect(replace(suite, thresholds={}, cases=()).to_json()):
        raise InvalidSuiteError(f"the suite holds {reason}; write it otherwise")
    for index, case in enumerate(suite.cases):
        if reason := defect(case.to_json()):
            raise InvalidSuiteError(f"case {index} holds {reason}; write it otherwise")
        try:
            check_messages([dict(message) for message in case.messages])
        except RowError as error:
            raise InvalidSuiteError(f"case {index}: messages: {error}") from error


def _plan(suite: Suite) -> Plan | None:
    cases = [_stand_in(index, case) for index, case in enumerate(suite.cases)]
    # A suite may leave the choice of scorers to whoever runs it.
    scored = [case for case in cases if suite.scorers or case.scorers is not None]
    return Plan(scored, suite.scorers) if scored else None


def _metrics(plan: Plan | None) -> tuple[str, ...]:
    return () if plan is None else tuple(metric for each in plan.measured for metric in each.scorer.metrics)


def _check_thresholds(suite: Suite, measured: Sequence[str]) -> None:
    for metric, least in suite.thresholds.items():
        if not math.isfinite(least):
            raise InvalidSuiteError(f"thresholds: {metric} is {least}; it must be a finite number")
        if measured and metric not in measured:
            raise InvalidSuiteError(
                f"thresholds: no scorer of the suite gives {metric}; they give {', '.join(measured)}"
            )


def _stand_in(index: int, case: SuiteCase) -> Case:
    asked = case.prompt is not None or bool(case.messages)
    if case.prompt is not None and case.messages:
        raise InvalidSuiteError(f"case {index}: give either prompt or messages")
    if not asked and not case.completion:
        raise InvalidSuiteError(
            f"case {index}: prompt: give one, or messages; or a completion alone, to be scored whole"
        )
    if case.choices and not all(case.choices):
        raise InvalidSuiteError(f"case {index}: choices: one is empty")
    return Case(
        index=index,
        prompt_text=case.prompt or "",
        reference=case.completion or "",
        prompt_ids=_TOKEN if asked else (),
        context_ids=_TOKEN,
        continuation_ids=_TOKEN if case.completion else (),
        choices=(_TOKEN,) * len(case.choices),
        choice_texts=case.choices,
        choice_context_ids=_TOKEN if asked else (),
        gold=case.gold,
        fields=case.fields,
        messages=case.messages,
        tags=case.tags,
        scorers=case.scorers,
    )
