"""Stored evaluations as the commands see them: in this process's home, or on a running server."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from evaluation.reports.folder import report_folder
from evaluation.runs.runs import Runs
from service.cli.client import Client
from service.cli.console import err
from service.cli.local import local_inference
from service.errors import SettingsError
from service.registry.opening import open_registry
from service.settings import Settings

Json = dict[str, Any]
_REPORTS = {"report.html": "html", "report.md": "markdown", "report.json": "json"}


class RunBook(Protocol):
    """What the commands need; runs and events are JSON objects as the HTTP routes give them."""

    def newest(self, limit: int) -> list[Json]:
        """Runs, newest first."""

    def show(self, run_id: str) -> Json:
        """One run."""

    def events(self, run_id: str, limit: int) -> list[Json]:
        """What it has said, newest first."""

    def follow(self, run_id: str) -> Iterator[Json]:
        """What it says, oldest first, until it has ended."""

    def cancel(self, run_id: str) -> Json:
        """Ends a run."""

    def resume(self, run_id: str) -> Json:
        """Lets a run wait for a server that goes on with it."""

    def delete(self, run_id: str) -> None:
        """Removes a run."""

    def compare(self, before: str, after: str) -> list[Json]:
        """The models of one run against those of another, or of one among themselves."""

    def judge(self, before: str, after: str, judge: str | None) -> list[Json]:
        """Which of their answers a judge prefers; None is the operator's."""

    def report(self, run_id: str, folder: Path, study: Path | None, *, overwrite: bool) -> None:
        """Writes a run's report to a folder, with the curve of a study of data sizes if one is given."""


class LocalRuns:
    """Of `LORAD_HOME`.

    Args:
        chosen: name the home and the tenant.
    """

    def __init__(self, chosen: Settings) -> None:
        self._settings = chosen
        self._database = open_registry(chosen).database
        self._runs = Runs(self._database)
        self._tenant = chosen.tenant

    def newest(self, limit: int) -> list[Json]:
        """See `RunBook`."""
        from service.api.schemas.evaluations import RunReply

        return [RunReply.of(run).model_dump(mode="json") for run in self._runs.list(self._tenant, limit=limit)]

    def show(self, run_id: str) -> Json:
        """See `RunBook`."""
        from service.api.schemas.evaluations import RunReply

        return RunReply.of(self._runs.get(self._tenant, run_id)).model_dump(mode="json")

    def events(self, run_id: str, limit: int) -> list[Json]:
        """See `RunBook`."""
        from service.api.schemas.evaluations import RunEventReply

        found = self._runs.events(self._tenant, run_id, limit=limit)
        return [RunEventReply.of(event).model_dump(mode="json") for event in found]

    def follow(self, run_id: str) -> Iterator[Json]:
        """See `RunBook`."""
        raise SettingsError(
            f"following {run_id} needs a server that goes on with it: give --server URL or set LORAD_SERVER"
        )

    def cancel(self, run_id: str) -> Json:
        """See `RunBook`."""
        from service.api.schemas.evaluations import RunReply

        return RunReply.of(self._runs.cancel(self._tenant, run_id)).model_dump(mode="json")

    def resume(self, run_id: str) -> Json:
        """See `RunBook`."""
        from service.api.schemas.evaluations import RunReply

        return RunReply.of(self._runs.resume(self._tenant, run_id)).model_dump(mode="json")

    def delete(self, run_id: str) -> None:
        """See `RunBook`."""
        self._runs.delete(self._tenant, run_id)

    def compare(self, before: str, after: str) -> list[Json]:
        """See `RunBook`."""
        from service.api.schemas.evaluations import ComparisonList
        from service.evaluation.comparison import Side, compare_runs

        found = compare_runs(self._runs, self._tenant, Side(run_id=before), Side(run_id=after))
        return [each.model_dump(mode="json") for each in ComparisonList.of(found).data]

    def judge(self, before: str, after: str, judge: str | None) -> list[Json]:
        """See `RunBook`."""
        from service.api.schemas.preference import PreferenceList
        from service.evaluation.comparison import Side
        from service.evaluation.preference import judge_runs
        from service.evaluation.request import Judging
        from service.evaluation.run import open_desk

        # The operator's model needs no base here.
        opened = nullcontext(None) if judge is None else local_inference(self._settings)
        with opened as inference, err().status("judging") as status:

            def progress(done: int, total: int) -> None:
                status.update(f"judging: {done} of {total} cases")

            asked = Judging(settings=self._settings, inference=inference, tenant=self._tenant, model=judge)
            sides = Side(run_id=before), Side(run_id=after)
            found = judge_runs(open_desk(self._settings, self._database), asked, *sides, on_progress=progress)
        return [each.model_dump(mode="json") for each in PreferenceList.of(found).data]

    def report(self, run_id: str, folder: Path, study: Path | None, *, overwrite: bool) -> None:
        """See `RunBook`."""
        from service.evaluation.report import read_curve, write_run_report
        from service.evaluation.run import open_desk

        curve = None if study is None else read_curve(study)
        run = self._runs.get(self._tenant, run_id)
        write_run_report(open_desk(self._settings, self._database), run, folder, curve, overwrite=overwrite)


class RemoteRuns:
    """Of a server.

    Args:
        client: calls it.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def newest(self, limit: int) -> list[Json]:
        """See `RunBook`."""
        return self._call("GET", "", params={"limit": limit})["data"]  # type: ignore[no-any-return]

    def show(self, run_id: str) -> Json:
        """See `RunBook`."""
        return self._call("GET", f"/{run_id}")

    def events(self, run_id: str, limit: int) -> list[Json]:
        """See `RunBook`."""
        return self._call("GET", f"/{run_id}/events", params={"limit": limit})["data"]  # type: ignore[no-any-return]

    def follow(self, run_id: str) -> Iterator[Json]:
        """See `RunBook`."""
        return self._client.events(f"/evaluations/{run_id}/events")

    def cancel(self, run_id: str) -> Json:
        """See `RunBook`."""
        return self._call("POST", f"/{run_id}/cancel")

    def resume(self, run_id: str) -> Json:
        """See `RunBook`."""
        return self._call("POST", f"/{run_id}/resume")

    def delete(self, run_id: str) -> None:
        """See `RunBook`."""
        self._call("DELETE", f"/{run_id}")

    def compare(self, before: str, after: str) -> list[Json]:
        """See `RunBook`."""
        return self._call("GET", f"/{after}/compare", params={"with": before})["data"]  # type: ignore[no-any-return]

    def judge(self, before: str, after: str, judge: str | None) -> list[Json]:
        """See `RunBook`."""
        return self._call("POST", f"/{after}/judge", json={"with": before, "judge": judge})["data"]  # type: ignore[no-any-return]

    def report(self, run_id: str, folder: Path, study: Path | None, *, overwrite: bool) -> None:
        """See `RunBook`."""
        if study is not None:
            raise SettingsError(f"{study} lies here and the evaluation on a server: leave out --study or --server")
        with report_folder(folder, overwrite=overwrite) as staged:
            for name, kind in _REPORTS.items():
                (staged / name).write_bytes(self._client.download(f"/evaluations/{run_id}/report?format={kind}"))

    def _call(self, method: str, path: str, **options: Any) -> Json:
        found: Json = self._client.call(method, f"/evaluations{path}", **options)
        return found
