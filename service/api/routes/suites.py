"""`/suites`: named sets of cases that evaluations and gates measure on, versioned by digest."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from evaluation.suites.suite import Suite
from service.api.auth.principal import Publisher, Reader
from service.api.schemas.suites import SuiteDeleted, SuiteList, SuiteReply, SuiteWithCases
from service.api.state import State
from service.api.uploads.suites import FORMS, read_suite

router = APIRouter(prefix="/suites", tags=["evaluation"])

Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str | None, Query(pattern="^sha256:[0-9a-f]{8,64}$")]


@router.post("", openapi_extra=FORMS)
def add(principal: Publisher, state: State, suite: Annotated[Suite, Depends(read_suite)]) -> SuiteReply:
    """Makes a suite the newest version of its name: one JSON or YAML body, or a form of a YAML file and its JSONL."""
    return SuiteReply.of(state.desk.suites.add(principal.tenant, suite))


@router.get("")
def list_suites(
    principal: Reader, state: State, name: Annotated[str | None, Query(min_length=1, max_length=64)] = None
) -> SuiteList:
    """The newest version of each of the caller's suites; with `name` all versions of that one, newest first."""
    return SuiteList.of(state.desk.suites.list(principal.tenant, name))


@router.get("/{name}")
def show(principal: Reader, state: State, name: Name, digest: Digest = None) -> SuiteWithCases:
    """A suite's newest version, or the one whose digest begins so, with all its cases."""
    return SuiteWithCases.of(state.desk.suites.get(principal.tenant, _reference(name, digest)))


@router.delete("/{name}")
def delete(principal: Publisher, state: State, name: Name, digest: Digest = None) -> SuiteDeleted:
    """Forgets a suite, or one version of it; the evaluations that it was used for stay."""
    gone = state.desk.suites.delete(principal.tenant, _reference(name, digest))
    return SuiteDeleted(name=name, deleted=list(gone))


def _reference(name: str, digest: str | None) -> str:
    return name if digest is None else f"{name}@{digest}"
