"""What an evaluation runs on: the cases of the request, or a data file that the operator has put in place."""

from collections.abc import Sequence

from corpus.dataset import load
from corpus.errors import CorpusError
from corpus.readers import SUFFIXES
from corpus.records import Record
from service.api.errors import ApiError, Problem
from service.api.keys import Principal
from service.api.schemas.evaluate import CaseBody, EvaluateBody
from service.settings import Settings


def records_of(body: EvaluateBody, settings: Settings, principal: Principal) -> tuple[Record, ...]:
    """The records of a request.

    Raises:
        ApiError: there is no such data set, or its file cannot be read.
    """
    if body.dataset is not None:
        return _stored(body.dataset, settings, principal)
    return _given(body.cases or [])


def _given(cases: Sequence[CaseBody]) -> tuple[Record, ...]:
    return tuple(
        Record(
            kind="chat",
            file="cases",
            line=number,
            row={},
            messages=(*_prompt(case), {"role": "assistant", "content": case.completion}),
        )
        for number, case in enumerate(cases, start=1)
    )


def _prompt(case: CaseBody) -> list[dict[str, str]]:
    if case.messages is not None:
        return [message.rendered() for message in case.messages]
    return [{"role": "user", "content": case.prompt or ""}]


def _stored(name: str, settings: Settings, principal: Principal) -> tuple[Record, ...]:
    # Name and tenant match the name rule: one path component each, never `..`.
    folder = settings.datasets / principal.tenant
    paths = [path for path in (folder / name, *(folder / f"{name}{suffix}" for suffix in SUFFIXES)) if path.is_file()]
    if not paths:
        raise ApiError(
            Problem(status=404, message=f"there is no data set {name!r}", code="dataset_not_found", param="dataset")
        )
    try:
        return load(paths[0]).records
    except CorpusError as error:
        # Where the server keeps its files is none of the client's business.
        message = str(error).replace(str(paths[0]), name)
        raise ApiError(Problem(status=400, message=message, code="invalid_data", param="dataset")) from error
