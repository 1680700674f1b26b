"""The `lorad` command: sub-commands, exit codes and what an error looks like."""

import logging
import os
import sys

import typer

from adapters.errors import AdapterError
from base.errors import BaseModelError
from corpus.errors import CorpusError
from evaluation.errors import EvaluationError
from service.cli.adapters import app as adapters_app
from service.cli.arena import app as arena_app
from service.cli.base import app as base_app
from service.cli.benchmark import benchmark
from service.cli.compare import compare
from service.cli.console import FAILED, INTERRUPTED, STOPPED_RESUMABLE, fail, say
from service.cli.data import app as data_app
from service.cli.evaluate import evaluate
from service.cli.evaluations import app as evaluations_app
from service.cli.gates import app as gates_app
from service.cli.generate import generate
from service.cli.jobs import app as jobs_app
from service.cli.keys import app as keys_app
from service.cli.serve import serve
from service.cli.suites import app as suites_app
from service.cli.train import train
from service.cli.worker import worker
from service.engine.errors import EngineError
from service.errors import ServiceError
from storage.errors import StorageError
from training.errors import Stopped, TrainingError

app = typer.Typer(
    name="lorad",
    help="Train LoRA adapters on a quantised base and serve them, mixed in one batch.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("serve")(serve)
app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("compare")(compare)
app.command("benchmark")(benchmark)
app.command("generate")(generate)
app.command("worker")(worker)
app.add_typer(data_app, name="data")
app.add_typer(adapters_app, name="adapters")
app.add_typer(base_app, name="base")
app.add_typer(jobs_app, name="jobs")
app.add_typer(evaluations_app, name="evaluations")
app.add_typer(suites_app, name="suites")
app.add_typer(arena_app, name="arena")
app.add_typer(gates_app, name="gates")
app.add_typer(keys_app, name="keys")

# Errors that were written for a person to read: their message is all there is to say.
_READABLE = (
    AdapterError,
    BaseModelError,
    CorpusError,
    EngineError,
    EvaluationError,
    ServiceError,
    StorageError,
    TrainingError,
)

_SPINS = "10000"
"""Of a thread that waits for another, before it sleeps. By OpenMP's own 300,000 a server and a trainer on the same
cores spend most of them on waiting; with a tenth of ours a server alone is slower."""


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 usage, 75 stopped and resumable, 130 interrupted."""
    # bitsandbytes remarks at import that an optional package is missing.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP reads it when torch is loaded, which is later.
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    try:
        app()
    except Stopped as stopped:
        say(str(stopped))
        sys.exit(INTERRUPTED if stopped.interrupted else STOPPED_RESUMABLE)
    except _READABLE as error:
        fail(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: that is no failure.
        sys.stderr.close()
