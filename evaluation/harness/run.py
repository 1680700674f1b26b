"""A run: benchmarks asked of several models at once, scored by the harness."""

import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks.manager import TaskDict

from evaluation.errors import NothingToDoError, RepeatedModelError
from evaluation.harness.answers import Answers, OnProgress
from evaluation.harness.catalogue import benchmark
from evaluation.harness.model import SamplerModel, Tokenizer
from evaluation.harness.proof import AppliedProof, prove_applied
from evaluation.harness.results import BenchmarkResult, QuestionResult, TaskResult
from evaluation.harness.task_files import write_tasks
from evaluation.sampler import Sampler, ScoreGroup

_NUM_PROBES = 8
_FEWSHOT_SEED = 1234
"""The harness's own."""
_PROBE_TOKENS = 64
"""Context of a probe at most."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A model to be measured."""

    model: str | None
    """Adapter reference; None is the base."""
    digest: str
    """Of the adapter version's content, or of the base's."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What is asked and how."""

    benchmarks: tuple[str, ...]
    """Names of `catalogue.BENCHMARKS`."""
    data: Path | None = None
    """Folder of local files; None: the hub."""
    limit: int | None = None
    """So many questions of each task, from the first on."""
    num_fewshot: int | None = None
    """Examples before each question; None: as the task has it."""
    apply_chat_template: bool = False
    """Ask in the base's chat template."""
    tasks_folder: Path | None = None
    """Where the tasks are written and left, for `lm_eval --include_path`; None: nowhere."""


def run_benchmarks(
    sampler: Sampler,
    tokenizer: Tokenizer,
    context_tokens: int,
    models: Sequence[Measured],
    options: BenchmarkOptions,
    on_progress: OnProgress | None = None,
) -> list[BenchmarkResult]:
    """Measures all models in mixed batches; one result for each, in order.

    Args:
        sampler: runs the models.
        tokenizer: the base's.
        context_tokens: the longest sequence that the models take.
        models: which.
        options: which benchmarks, and how.
        on_progress: told how far it is.

    Raises:
        EvaluationError: a benchmark is unknown, data are missing or malformed, or an adapter does nothing.
    """
    _check(models, options)
    started = time.monotonic()
    with _tasks_folder(options) as folder, _quiet():
        write_tasks([benchmark(name) for name in options.benchmarks], options.data, folder)
        tasks = TaskManager(include_path=folder, include_defaults=False).load(list(options.benchmarks))
        answers = Answers(sampler, [each.model for each in models], on_progress)
        runs = [_run(SamplerModel(answers, each.model, tokenizer, context_tokens), tasks, options) for each in models]
    proofs = _prove(sampler, tokenizer, models, runs[0])
    seconds = time.monotonic() - started
    return [
        BenchmarkResult(
            model=each.model,
            digest=each.digest,
            applied=proofs.get(each.model),
            tasks=tuple(_task_results(run)),
            seconds=seconds,
        )
        for each, run in zip(models, runs, strict=True)
    ]


def _check(models: Sequence[Measured], options: BenchmarkOptions) -> None:
    if not models:
        raise NothingToDoError("No model was named; None is the base.")
    if not options.benchmarks:
        raise NothingToDoError("No benchmark was named.")
    names = [each.model for each in models]
    for name in names:
        if names.count(name) > 1:
            raise RepeatedModelError(f"The model {name or 'base'!r} is named {names.count(name)} times.")


def _run(model: SamplerModel, tasks: TaskDict, options: BenchmarkOptions) -> Mapping[str, Any]:
    for task in tasks["tasks"].values():
        _set_fewshot(task, options.num_fewshot)
    found: Mapping[str, Any] | None = evaluate(
        model,
        tasks,
        limit=options.limit,
        apply_chat_template=options.apply_chat_template,
        fewshot_as_multiturn=True,
        # With none there are no standard errors; the benchmarks' metrics are means, whose errors need no bootstrap.
        bootstrap_iters=1,
    )
    assert found is not None
    return found


def _set_fewshot(task: Task, num_fewshot: int | None) -> None:
    """As the harness's own command does it; a task that says 0 itself keeps it."""
    own = task.get_config("num_fewshot")
    if own != 0 and num_fewshot is not None:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    # For each model again: all are to see the same examples.
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)


def _prove(
    sampler: Sampler, tokenizer: Tokenizer, models: Sequence[Measured], run: Mapping[str, Any]
) -> dict[str | None, AppliedProof]:
    """On the beginnings of questions, whatever the task asks for."""
    adapters = [each.model for each in models if each.model is not None]
    if not adapters:
        return {}
    texts = [str(sample["arguments"][0][0]) for samples in run["samples"].values() for sample in samples[:_NUM_PROBES]]
    probes = [
        ScoreGroup(model=None, context_ids=tuple(ids[:1]), continuations=(tuple(ids[1:]),))
        for ids in (tokenizer.encode(text)[-_PROBE_TOKENS:] for text in texts[:_NUM_PROBES])
        if len(ids) > 1
    ]
    return dict(zip(adapters, prove_applied(sampler, adapters, probes), strict=True))


def _task_results(run: Mapping[str, Any]) -> Iterator[TaskResult]:
    """Groups stand before the tasks that they are made of, the largest first."""
    groups = run.get("groups", {})
    found = [_task_result(name, values, run["samples"].get(name, ())) for name, values in run["results"].items()]
    yield from sorted((task for task in found if task.task in groups), key=lambda task: -task.num_questions)
    yield from (task for task in found if task.task not in groups)


def _task_result(name: str, values: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> TaskResult:
    metrics, errors = _metrics(values)
    num = values.get("sample_len") or len({sample["doc_id"] for sample in samples})
    return TaskResult(
        task=name,
        metrics=metrics,
        errors=errors,
        num_questions=int(num),
        questions=tuple(map(_question, samples)),
    )


def _metrics(values: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    metrics: dict[str, float] = {}
    errors: dict[str, float] = {}
    for key, value in values.items():
        name, _, kind = key.partition(",")
        if not kind or not isinstance(value, int | float):
            continue
        is_error = name.endswith("_stderr")
        shown = name.removesuffix("_stderr") + ("" if kind == "none" else f",{kind}")
        (errors if is_error else metrics)[shown] = float(value)
    return metrics, errors


def _question(sample: Mapping[str, Any]) -> QuestionResult:
    return QuestionResult(
        index=int(sample["doc_id"]),
        filter=str(sample["filter"]),
        responses=tuple(response for each in sample["resps"] for response in each),
        metrics={name: float(sample[name]) for name in sample["metrics"]},
    )


@contextmanager
def _tasks_folder(options: BenchmarkOptions) -> Iterator[Path]:
    if options.tasks_folder is not None:
        yield options.tasks_folder
        return
    with tempfile.TemporaryDirectory(prefix="lorad-benchmarks-") as folder:
        yield Path(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the harness's own reports and bars, which no setting turns off: here the caller reports."""
    logger, hid_bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        if not hid_bars:
            datasets.enable_progress_bars()
