"""`lorad benchmark`: the base and adapters on public benchmarks."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from service.cli.console import emit_json, err, out
from service.cli.generate import BASE
from service.cli.local import local_inference
from service.cli.options import BaseModelName, Device, DType, Json, Quantization, settings
from service.errors import SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    from evaluation.harness.run import BenchmarkOptions


def benchmark(
    benchmarks: Annotated[
        str,
        typer.Argument(
            help="By comma: arc_easy, arc_challenge, hellaswag, mmlu, truthfulqa_mc1, truthfulqa_mc2, gsm8k."
        ),
    ],
    model: Annotated[list[str] | None, typer.Option(help="Adapter reference, or 'base'; may be repeated.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder of JSONL files for each benchmark; without it they come from the hub."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many questions of each task, from the first on.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Examples before each question.")] = None,
    chat_template: Annotated[bool, typer.Option("--chat-template", help="Ask in the base's chat template.")] = False,
    write_tasks: Annotated[
        Path | None,
        typer.Option(help="Leave the tasks in this folder, for `lm_eval --include_path` on the same rows."),
    ] = None,
    questions: Annotated[bool, typer.Option("--questions", help="With --json: every question's answers too.")] = False,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    json_: Json = False,
) -> None:
    """Measure the base and adapters on public benchmarks, all in one mixed batch, scored by lm-evaluation-harness.

    Each adapter is held against the base on the same tokens first: one that changes nothing is an error.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise SettingsError("lorad benchmark needs lm-evaluation-harness; run: pip install 'lorad[benchmarks]'")
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype)
    # The harness takes a second to import.
    from evaluation.harness.run import BenchmarkOptions

    options = BenchmarkOptions(
        benchmarks=tuple(name.strip() for name in benchmarks.split(",")),
        data=data,
        limit=limit,
        num_fewshot=num_fewshot,
        apply_chat_template=chat_template,
        tasks_folder=write_tasks,
    )
    models = [None if name == BASE else name for name in model or [BASE]]
    results = _measure(chosen, models, options, questions=questions)
    if json_:
        emit_json(results)
        return
    _print(results)


def _measure(
    chosen: Settings, models: list[str | None], options: "BenchmarkOptions", *, questions: bool
) -> list[dict[str, Any]]:
    with local_inference(chosen) as inference, err().status("preparing the benchmarks") as status:
        from service.evaluation.benchmarks import benchmark_models

        def progress(done: int, total: int) -> None:
            status.update(f"{done} of {total} questions answered, over all models")

        results = benchmark_models(inference, chosen.tenant, models, options, progress)
        return [result.to_json(questions=questions) for result in results]


def _print(results: list[dict[str, Any]]) -> None:
    table = Table(
        "task", "questions", "metric", *(str(result["model"]) for result in results), box=None, padding=(0, 2, 0, 0)
    )
    for at, task in enumerate(results[0]["tasks"]):
        for metric in task["metrics"]:
            cells = (_cell(result["tasks"][at], metric) for result in results)
            table.add_row(task["task"], str(task["num_questions"]), metric, *cells)
    out().print(table)
    for result in results:
        if (proof := result["applied"]) is not None:
            out().print(
                f"{result['model']} ({result['digest']}) is applied: it changes {proof['changed_tokens']} of "
                f"{proof['compared_tokens']} tokens' logprobs, by up to {proof['largest_change_nats']:.2f} nats"
            )


def _cell(task: dict[str, Any], metric: str) -> str:
    error = task["errors"].get(metric)
    return f"{task['metrics'][metric]:.4f}" + ("" if error is None else f" ±{error:.4f}")
