"""`lorad data propose`: which rows to collect more of, by what an evaluation has failed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from corpus.dataset import load_files
from corpus.findings import shortened
from corpus.records import Record
from corpus.writers import write_jsonl
from service.cli.answered_cases import answered_cases
from service.cli.console import emit_json, out, say
from service.cli.options import Json, Server, settings, sources
from service.errors import SettingsError
from service.generation.proposal import Proposal, ProposalOptions, propose

_NUM_GROUPS = 15
_NUM_SEEDS = 10


def propose_rows(
    run: Annotated[
        str, typer.Option(help="eval-… of this home or of --server, or a file that lorad evaluate --json wrote.")
    ],
    seeds: Annotated[list[str] | None, typer.Option(help="Training rows: which of them are like what fails?")] = None,
    cases: Annotated[Path | None, typer.Option(help="The cases' rows, where --run is a file.")] = None,
    model: Annotated[int, typer.Option(min=0, help="Position of the model in the evaluation.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="Rows to be collected, which are divided.")] = 100,
    metric: Annotated[
        str | None, typer.Option(help="By which a case fails; default the strictest one measured.")
    ] = None,
    below: Annotated[float | None, typer.Option(help="Score from which a case has not failed; default 0.5.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the seeds that are like what fails: the seeds of data generate.")
    ] = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Say which rows to collect more of, by what a model has failed: by class, tag, confusion and nearest row."""
    if output is not None and not seeds:
        raise SettingsError("--output takes its rows from the seeds: name them with --seeds")
    records = load_files(sources(seeds), skip_bad=True).records if seeds else ()
    answered = answered_cases(run, cases, model, settings(server=server))
    proposal = propose(answered, records, ProposalOptions(rows=rows, metric=metric, below=below))
    if output is not None:
        _write(proposal, records, output)
    if json_:
        emit_json(proposal.to_json())
    else:
        _print(proposal)


def _write(proposal: Proposal, records: tuple[Record, ...], output: Path) -> None:
    if output.exists():
        raise SettingsError(f"{output} exists and is not replaced; name another --output, or delete it")
    by_place = {f"{record.file}:{record.line}": record for record in records}
    chosen = [by_place[seed.place] for seed in proposal.seeds]
    if not chosen:
        say("no seed is like a failed case: nothing is written")
        return
    write_jsonl(chosen, output)
    say(f"{output}: {len(chosen)} seeds, those that most failures are like first")


def _print(proposal: Proposal) -> None:
    word = "above" if proposal.metric == "loss" else "below"
    out().print(
        Text(f"{proposal.failed} of {proposal.cases} cases failed: {proposal.metric} {word} {proposal.below:g}", "bold")
    )
    table = Table("by", "", "failed", "of", "rows to collect", box=None, padding=(0, 2, 0, 0))
    for kind in dict.fromkeys(group.kind for group in proposal.groups):
        groups = [group for group in proposal.groups if group.kind == kind]
        for group in groups[:_NUM_GROUPS]:
            wanted = str(group.rows) if group.kind == proposal.divided_by else ""
            table.add_row(kind, Text(group.name), str(group.failed), str(group.cases), wanted)
        if len(groups) > _NUM_GROUPS:
            table.add_row(kind, f"and {len(groups) - _NUM_GROUPS} more", "", "", "")
    out().print(table)
    if proposal.seeds:
        out().print(Text("training rows most like what failed", "bold"))
        for seed in proposal.seeds[:_NUM_SEEDS]:
            out().print(Text(f"  {seed.failed:3}  {seed.similarity:.2f}  {seed.place}  {shortened(seed.text, 80)}"))
    if proposal.unlike:
        out().print(Text(f"{proposal.unlike} failed cases are like no row: collect rows of their kind first"))
