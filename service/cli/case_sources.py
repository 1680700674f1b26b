"""Where a command's test cases come from: a suite's name or file, or a data file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from corpus.columns import ColumnMapping
from corpus.dataset import load
from corpus.split import sample
from evaluation.suites.reader import read
from evaluation.suites.store import Suites
from evaluation.suites.suite import GIVEN, Suite
from service.registry.opening import open_registry
from service.settings import Settings

SuiteOption = Annotated[
    str | None, typer.Option("--suite", help="A suite's name, name@sha256:…, or a YAML file of one.")
]


@dataclass(frozen=True, kw_only=True)
class CaseSource:
    """What the flags say."""

    data: Path | None
    suite: str | None
    columns: ColumnMapping
    skip_bad: bool
    max_rows: int | None
    seed: int


def read_cases(source: CaseSource, chosen: Settings) -> str | Suite:
    """The cases; a name where a server has to look it up.

    Raises:
        typer.BadParameter: neither or both of --data and --suite.
        CorpusError, EvaluationError: a file cannot be used.
    """
    if (source.data is None) == (source.suite is None):
        raise typer.BadParameter("give either --data FILE or --suite NAME")
    if source.suite is not None:
        if Path(source.suite).is_file():
            return read(Path(source.suite))
        if chosen.server:
            return source.suite
        return Suites(open_registry(chosen).database).get(chosen.tenant, source.suite).suite
    assert source.data is not None
    records = load(source.data, source.columns, source.skip_bad).records
    if source.max_rows is not None and source.max_rows < len(records):
        records = tuple(sample(records, source.max_rows, source.seed))
    # Not by the file's name: the same rows are the same cases, wherever they came from.
    return Suite.of_records(GIVEN, records)
