"""An evaluation from the command line: in this process, or on a server that is followed until it has ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.reports.folder import check_folder
from evaluation.scorers.spec import ScorerSpec
from evaluation.suites.suite import GIVEN, Suite
from service.actor import local_actor
from service.cli.client import Client
from service.cli.console import err, say
from service.cli.local import local_inference
from service.cli.run_book import RemoteRuns
from service.settings import Settings

if TYPE_CHECKING:
    from evaluation.runs.claims import RunClaim
    from service.evaluation.run import Desk
    from service.inference.inference import Inference

_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured."""

    models: tuple[str | None, ...]
    cases: str | Suite | None
    """A name that the server knows, or the cases themselves; None where a run is resumed."""
    scorers: tuple[ScorerSpec, ...] = ()
    """Empty: the suite's."""
    max_tokens: int | None = None
    resume: str | None = None
    """The run to go on with."""
    report: Path | None = None
    """Folder of the report."""


def measure(chosen: Settings, asked: Asked) -> dict[str, Any]:
    """The run as the HTTP routes give it, with the cases in its results."""
    if asked.report is not None:
        check_folder(asked.report)
    if chosen.server:
        return _Remote(Client(chosen.server, chosen.api_key)).measure(asked)
    return _local(chosen, asked)


def _local(chosen: Settings, asked: Asked) -> dict[str, Any]:
    with local_inference(chosen) as inference, err().status("evaluating") as status:
        # torch is loaded by now; before it, these imports would have loaded it.
        from dataclasses import replace

        from service.api.schemas.evaluations import RunReply
        from service.evaluation.renewal import renewed
        from service.evaluation.report import write_run_report
        from service.evaluation.run import carry_out, open_desk

        desk = open_desk(chosen, inference.registry.database)
        claim = _claimed(desk, inference, chosen, asked)

        def progress(done: int, total: int) -> None:
            status.update(f"evaluating: {done} of {total} answers")

        try:
            with renewed(desk.claims, claim, chosen.lease_seconds):
                run = carry_out(desk, inference, claim, progress)
        except KeyboardInterrupt:
            desk.claims.cancel(claim)
            say(f"{claim.run.id} is cancelled; lorad evaluate --resume {claim.run.id} goes on with it")
            raise
        except Exception as error:
            desk.claims.fail(claim, str(error))
            raise
        if asked.report is not None:
            write_run_report(desk, run, asked.report)
        results = desk.runs.results(run.tenant, run.id)
        return RunReply.of(replace(run, results=results)).model_dump(mode="json")


def _claimed(desk: "Desk", inference: "Inference", chosen: Settings, asked: Asked) -> "RunClaim":
    if asked.resume is not None:
        return desk.claims.resume(chosen.tenant, asked.resume, inference.base.digest)
    from service.evaluation.request import Wanted, new_run

    assert isinstance(asked.cases, Suite)
    wanted = Wanted(
        models=asked.models,
        suite=asked.cases,
        name=None if asked.cases.name == GIVEN else asked.cases.name,
        scorers=asked.scorers,
        max_tokens=asked.max_tokens,
        actor=local_actor(),
    )
    new = new_run(chosen, inference, chosen.tenant, wanted)
    return desk.claims.begin(chosen.tenant, new, asked.cases)


class _Remote:
    def __init__(self, client: Client) -> None:
        self._client = client

    def measure(self, asked: Asked) -> dict[str, Any]:
        run = self._begun(asked)
        try:
            for event in self._client.events(f"/evaluations/{run['id']}/events"):
                say(event["message"])
        except KeyboardInterrupt:
            self._client.call("POST", f"/evaluations/{run['id']}/cancel")
            say(f"{run['id']} is cancelled; lorad evaluations resume {run['id']} goes on with it")
            raise
        run = self._client.call("GET", f"/evaluations/{run['id']}")
        for position, result in enumerate(run["results"] or ()):
            result["cases"] = [case["answer"] for case in self._cases(run["id"], position)]
        if asked.report is not None and run["results"] is not None:
            RemoteRuns(self._client).report(run["id"], asked.report, None, overwrite=False)
        return run  # type: ignore[no-any-return]

    def _begun(self, asked: Asked) -> Any:
        if asked.resume is not None:
            return self._client.call("POST", f"/evaluations/{asked.resume}/resume")
        assert asked.cases is not None
        body: dict[str, Any] = {
            "models": list(asked.models),
            "suite": asked.cases if isinstance(asked.cases, str) else asked.cases.to_json(),
            "background": True,
        }
        if asked.scorers:
            body["metrics"] = [{"name": scorer.name, "params": dict(scorer.params)} for scorer in asked.scorers]
        if asked.max_tokens is not None:
            body["max_tokens"] = asked.max_tokens
        return self._client.call("POST", "/evaluate", json=body)

    def _cases(self, run_id: str, position: int) -> Iterator[Mapping[str, Any]]:
        has_more, after = True, -1
        while has_more:
            params = {"model": position, "after": after, "limit": _PAGE}
            page = self._client.call("GET", f"/evaluations/{run_id}/cases", params=params)
            yield from page["data"]
            has_more, after = page["has_more"], page["data"][-1]["index"] if page["data"] else after
