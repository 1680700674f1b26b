"""Scorers by name, and their parameters checked."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import TypeAdapter, ValidationError

from evaluation.errors import UnknownScorerError
from evaluation.judging.judge import Judge
from evaluation.scorers.bleu import Bleu
from evaluation.scorers.chrf import Chrf
from evaluation.scorers.classification import Classification
from evaluation.scorers.exact_match import ExactMatch
from evaluation.scorers.f1 import F1
from evaluation.scorers.json_fields import JsonFields
from evaluation.scorers.json_schema import JsonSchema
from evaluation.scorers.json_valid import JsonValid
from evaluation.scorers.judge import JudgeScorer
from evaluation.scorers.labels import Loss, Perplexity, TokenAccuracy
from evaluation.scorers.latency import Latency
from evaluation.scorers.multiple_choice import MultipleChoice
from evaluation.scorers.numeric import Numeric
from evaluation.scorers.regex import Regex
from evaluation.scorers.rouge import RougeL
from evaluation.scorers.scorer import Scorer
from evaluation.scorers.spec import ScorerSpec
from evaluation.scorers.sql import Sql

SCORERS: Final[Mapping[str, Callable[..., Scorer]]] = {
    "loss": Loss,
    "perplexity": Perplexity,
    "token_accuracy": TokenAccuracy,
    "exact_match": ExactMatch,
    "rouge_l": RougeL,
    "multiple_choice": MultipleChoice,
    "classification": Classification,
    "f1": F1,
    "bleu": Bleu,
    "chrf": Chrf,
    "regex": Regex,
    "numeric": Numeric,
    "json_valid": JsonValid,
    "json_schema": JsonSchema,
    "json_fields": JsonFields,
    "sql": Sql,
    "judge": JudgeScorer,
    "latency": Latency,
}
"""Classes whose constructor arguments, all by keyword and with types, are the parameters of the specification."""


def create(spec: ScorerSpec, judge: Judge | None = None) -> Scorer:
    """Make a scorer.

    Args:
        spec: of it.
        judge: given to scorers that take one; a run without it measures nothing by them.

    Raises:
        UnknownScorerError: there is none of that name, or a parameter is unknown, missing or wrong; says which there
            are.
    """
    factory = SCORERS.get(spec.name)
    if factory is None:
        nearest = difflib.get_close_matches(spec.name, SCORERS, n=1, cutoff=0.4)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownScorerError(f"Unknown scorer {spec.name!r}.{hint} Known scorers: {', '.join(SCORERS)}.")
    parameters = inspect.signature(factory).parameters
    known = [name for name in parameters if name != "judge"]
    unknown = [name for name in spec.params if name not in known]
    if unknown:
        there = f"it has {', '.join(known)}" if known else "it has none"
        raise UnknownScorerError(f"The scorer {spec.name!r} has no parameter {unknown[0]!r}; {there}.")
    try:
        # Checked as types say; whatever makes the judge is not a request's to name.
        checked = {
            name: TypeAdapter(parameters[name].annotation).validate_python(value) for name, value in spec.params.items()
        }
        return factory(**checked, **({"judge": judge} if "judge" in parameters else {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its parameters"
        raise UnknownScorerError(f"The scorer {spec.name!r}: {where}: {first['msg']}.") from error
