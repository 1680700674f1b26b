"""Data generation in the command's own process."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from corpus.columns import ColumnMapping
from corpus.writers import write_rows
from service.cli.console import INTERRUPTED, STOPPED_RESUMABLE, err, say
from service.cli.local import local_inference
from service.cli.stopping import stop_signal
from service.generation.journal import Journal, open_journal, remove_journal
from service.generation.material import Material, NamedFile, prepare
from service.generation.outcome import Tally
from service.generation.plan import Plan
from service.generation.request import GenerationOptions, ModelChoices
from service.generation.run import generate
from service.settings import Settings

if TYPE_CHECKING:
    from service.generation.models import Models

_NUM_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class GenerationTask:
    """What a command was asked to do."""

    options: GenerationOptions
    seeds: Sequence[Path]
    held_out: Sequence[Path]
    columns: ColumnMapping
    skip_bad: bool
    choices: ModelChoices
    output: Path


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What came of it."""

    status: str
    kept: int
    attempts: int
    dropped: dict[str, int]
    """By reason, the most frequent first."""
    examples: tuple[str, ...]
    """Dropped texts and why."""
    model: str
    digest: str | None
    output: str
    file_id: str | None = None
    """On the server."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {**asdict(self), "examples": list(self.examples)}


def generate_here(settings: Settings, task: GenerationTask) -> Generated:
    """Generates into `task.output`, which appears when the run has ended.

    Raises:
        typer.Exit: A signal has come; what there is stays for the next time.
    """
    material = Material(
        seeds=[NamedFile.of(path) for path in task.seeds],
        held_out=[NamedFile.of(path) for path in task.held_out],
        columns=task.columns,
        skip_bad=task.skip_bad,
    )
    # Before the base is loaded: a file that cannot be used is told of at once.
    prepared = prepare(task.options, material)
    with _models(settings, task) as models:
        writer = models.writer
        plan = Plan(prepared=prepared, options=task.options, writer=writer, judging=models.judging)
        with open_journal(task.output, plan.digest) as journal:
            tally = _run(plan, journal)
            write_rows((outcome.row for outcome in journal.known() if outcome.row is not None), task.output)
            dropped = [outcome.text for outcome in journal.known() if outcome.reason is not None]
    remove_journal(task.output)
    return Generated(
        status="completed" if tally.kept >= task.options.count else "partial",
        kept=tally.kept,
        attempts=tally.attempts,
        dropped=dict(tally.reasons),
        examples=tuple(dropped[:_NUM_EXAMPLES]),
        model=writer.name,
        digest=writer.digest,
        output=str(task.output),
    )


def _run(plan: Plan, journal: Journal) -> Tally:
    wanted = plan.options.count
    if journal.known():
        say(f"going on after {len(journal.known())} attempts of an earlier run")
    with stop_signal() as should_stop, err().status("generating") as status:

        def progress(tally: Tally) -> None:
            status.update(f"generating: {tally.kept} of {wanted} rows, {tally.attempts} attempts")

        tally = generate(plan, journal, progress, should_stop)
    if should_stop() and tally.kept < wanted:
        say(f"stopped with {tally.kept} of {wanted} rows; the same command goes on")
        raise typer.Exit(INTERRUPTED if should_stop.interrupted else STOPPED_RESUMABLE)
    return tally


@contextmanager
def _models(settings: Settings, task: GenerationTask) -> "Iterator[Models]":
    """What writes and what rates; the base is loaded only where one of them is it or an adapter."""
    # torch comes with it, and help must not wait for it.
    from service.generation.models import open_models

    with ExitStack() as opened:
        inference = opened.enter_context(local_inference(settings)) if task.choices.needs_engine else None
        yield opened.enter_context(open_models(settings, inference, settings.tenant, task.choices, task.options))
