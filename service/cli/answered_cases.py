"""Cases with a model's answers: of a stored run, here or on a server, or out of a file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from corpus.dataset import load
from evaluation.results import CaseResult
from evaluation.runs.runs import Runs
from evaluation.suites.store import Suites
from evaluation.suites.suite import Suite
from service.cli.client import Client
from service.errors import SettingsError
from service.generation.proposal import Answered
from service.registry.opening import open_registry
from service.settings import Settings

_PAGE = 1000
_ANSWERS = TypeAdapter(list[CaseResult])


def answered_cases(run: str, cases: Path | None, model: int, chosen: Settings) -> list[Answered]:
    """The cases of an evaluation with one model's answers.

    Args:
        run: `eval-…`, or a file that `lorad evaluate --json` wrote.
        cases: The rows behind such a file.
        model: Position among the evaluation's models.
        chosen: Name the server, or the home and the tenant.

    Raises:
        SettingsError: The file, or the model in it, is not there.
        UnknownRunError, RunStateError: The evaluation is not there, or not through.
        RemoteError: The server says so.
    """
    if Path(run).suffix == ".json":
        if cases is None:
            raise SettingsError(f"{run} holds answers without their cases: name the cases' file with --cases")
        return _from_file(Path(run), cases, model)
    return list(_from_server(run, model, chosen)) if chosen.server else _from_home(run, model, chosen)


def _from_file(path: Path, cases: Path, model: int) -> list[Answered]:
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
        results = read["results"] if isinstance(read, dict) else read
        answers = _ANSWERS.validate_python([_known(each) for each in results[model]["cases"]])
    except (OSError, ValidationError, ValueError, LookupError, TypeError) as error:
        raise SettingsError(
            f"{path} holds no answers of a model {model}: give what lorad evaluate --json wrote ({error})"
        ) from error
    suite = Suite.of_records(cases.stem, load(cases).records)
    return _paired(suite, answers, str(cases))


def _from_home(run_id: str, model: int, chosen: Settings) -> list[Answered]:
    database = open_registry(chosen).database
    runs = Runs(database)
    run = runs.get(chosen.tenant, run_id)
    results = runs.results(chosen.tenant, run_id)
    if model >= len(results):
        raise SettingsError(f"{run_id} has {len(results)} models; --model {model} is none of them, they count from 0")
    return _paired(Suites(database).content(chosen.tenant, run.suite.digest), results[model].cases, run_id)


def _from_server(run_id: str, model: int, chosen: Settings) -> Iterator[Answered]:
    assert chosen.server is not None
    client = Client(chosen.server, chosen.api_key)
    has_more, after = True, -1
    while has_more:
        params = {"model": model, "after": after, "limit": _PAGE}
        page = client.call("GET", f"/evaluations/{run_id}/cases", params=params)
        for each in page["data"]:
            after = each["index"]
            case = Suite.of({"name": run_id, "cases": [each["case"]]}).cases[0]
            yield Answered(case=case, answer=_ANSWERS.validate_python([_known(each["answer"])])[0])
        has_more = page["has_more"] and bool(page["data"])


def _known(answer: dict[str, Any]) -> dict[str, Any]:
    """Fields that a case's answer has; whatever a newer server says beside is left alone."""
    names = CaseResult.__dataclass_fields__
    return {name: value for name, value in answer.items() if name in names}


def _paired(suite: Suite, answers: Sequence[CaseResult], name: str) -> list[Answered]:
    last = max((answer.index for answer in answers), default=-1)
    if last >= len(suite.cases):
        raise SettingsError(f"{name} has {len(suite.cases)} cases, and there is an answer to case {last}: give its own")
    return [Answered(case=suite.cases[answer.index], answer=answer) for answer in answers]
