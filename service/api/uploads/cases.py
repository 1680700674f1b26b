"""What an evaluation runs on: a suite, or one made of the request's cases or of the rows of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.dataset import load
from corpus.errors import CorpusError
from corpus.readers import SUFFIXES
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.check import check_form
from evaluation.suites.suite import GIVEN, Suite, SuiteCase
from service.api.auth.keys import Principal
from service.api.errors.problem import ApiError, Problem, invalid
from service.api.schemas.evaluation_request import MAX_CASES, CaseBody, EvaluateBody, ScorerBody
from service.api.state import ServerState
from service.files.errors import UnknownFileError


@dataclass(frozen=True, kw_only=True)
class AskedSuite:
    """What is to be run."""

    name: str | None
    """Where the cases have one."""
    suite: Suite


def suite_of(state: ServerState, principal: Principal, body: EvaluateBody) -> AskedSuite:
    """The cases of a request.

    Raises:
        ApiError: there is no such file or data set, it cannot be read, the key may not read it, or it has too many
            cases.
        SuiteStoreError: there is no such suite, or the one in the body is not well formed.
    """
    asked = _asked(state, principal, body)
    check_size(asked.suite)
    return asked


def check_size(suite: Suite) -> None:
    """Refuse what would take the server too long.

    Raises:
        ApiError: 400, there are too many cases.
    """
    if len(suite.cases) > MAX_CASES:
        message = f"there are {len(suite.cases)} cases, and the limit is {MAX_CASES}; send them in several suites"
        raise invalid(message, param="cases")


def _asked(state: ServerState, principal: Principal, body: EvaluateBody) -> AskedSuite:
    if isinstance(body.suite, str):
        stored = state.desk.suites.get(principal.tenant, body.suite)
        return AskedSuite(name=stored.name, suite=stored.suite)
    if body.suite is not None:
        suite = Suite.of(body.suite)
        check_form(suite)
        return AskedSuite(name=None if suite.name == GIVEN else suite.name, suite=suite)
    if body.file is not None:
        return AskedSuite(name=None, suite=_filed(state, principal, body.file))
    if body.dataset is not None:
        return AskedSuite(name=None, suite=_placed(state, principal, body.dataset))
    return AskedSuite(name=None, suite=Suite(name=GIVEN, cases=tuple(map(_case, body.cases or ()))))


def specs_of(scorers: Sequence[str | ScorerBody] | None) -> tuple[ScorerSpec, ...]:
    """The scorers of a request; none: the suite's."""
    return tuple(
        ScorerSpec(scorer) if isinstance(scorer, str) else ScorerSpec(scorer.name, scorer.params)
        for scorer in scorers or ()
    )


def _case(given: CaseBody) -> SuiteCase:
    return SuiteCase(
        prompt=given.prompt,
        messages=() if given.messages is None else tuple(message.rendered() for message in given.messages),
        completion=given.completion,
        choices=tuple(given.choices),
        gold=given.gold,
        fields=given.fields,
        tags=tuple(given.tags),
        scorers=None if given.scorers is None else specs_of(given.scorers),
    )


def _filed(state: ServerState, principal: Principal, file_id: str) -> Suite:
    # Whoever may read files may train; a run would show its rows to others.
    if "train" not in principal.scopes:
        message = "this API key lacks the scope 'train', which reading files takes"
        raise ApiError(Problem(status=403, message=message, code="insufficient_scope", param="file"))
    try:
        stored = state.files.get(principal.tenant, file_id)
        path = state.files.local_copy(principal.tenant, file_id)
    except UnknownFileError as error:
        raise ApiError(Problem(status=404, message=str(error), code="file_not_found", param="file")) from error
    return _read(path, stored.filename, "file")


def _placed(state: ServerState, principal: Principal, name: str) -> Suite:
    # Name and tenant match the name rule: one path component each, never `..`.
    folder = state.settings.datasets / principal.tenant
    paths = [path for path in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)) if path.is_file()]
    if not paths:
        raise ApiError(
            Problem(status=404, message=f"there is no data set {name!r}", code="dataset_not_found", param="dataset")
        )
    return _read(paths[0], name, "dataset")


def _read(path: Path, name: str, param: str) -> Suite:
    try:
        # Not by its name: the same rows are the same cases, wherever they came from.
        return Suite.of_records(GIVEN, load(path).records)
    except CorpusError as error:
        # Where the server keeps its files is none of the client's business.
        message = str(error).replace(str(path), name)
        raise ApiError(Problem(status=400, message=message, code="invalid_data", param=param)) from error
