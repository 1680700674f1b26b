"""`lorad data generate`: new rows from seed rows or documents, with a model."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError
from rich.text import Text

from corpus.columns import BY_NAME, ColumnMapping
from corpus.synthetic.drafts import REASONS
from corpus.synthetic.recipes.recipe import RECIPES
from service.cli.console import FAILED, emit_json, out
from service.cli.generate import BASE
from service.cli.local_generation import Generated, GenerationTask, generate_here
from service.cli.options import (
    BaseModelName,
    CompletionColumn,
    Device,
    DType,
    Json,
    LabelColumn,
    PromptColumn,
    Quantization,
    Server,
    SkipBad,
    TextColumn,
    settings,
)
from service.cli.remote_generation import generate_there
from service.errors import SettingsError
from service.generation.form import WritingForm
from service.generation.request import GenerationOptions, ModelChoices

OPERATOR = "operator"
"""How the command line calls the model behind LORAD_JUDGE_URL."""
_DEFAULTS = GenerationOptions(recipe="paraphrase", count=100)


def generate_rows(
    seeds: Annotated[
        list[Path], typer.Option(help="Rows to begin from; for questions documents (.txt, .md, rows of plain text).")
    ],
    recipe: Annotated[str, typer.Option(metavar="|".join(RECIPES), help="How new rows come about.")],
    output: Annotated[Path, typer.Option(help="JSONL file to write the new rows to; it must not exist yet.")],
    count: Annotated[int, typer.Option(min=1, help="Rows wanted.")] = _DEFAULTS.count,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Rows that nothing new may resemble: test and validation files.")
    ] = None,
    model: Annotated[
        str, typer.Option(help=f"What writes: '{BASE}', an adapter, or '{OPERATOR}' (the model of LORAD_JUDGE_URL).")
    ] = BASE,
    judge: Annotated[
        str | None, typer.Option(help=f"What rates each row: '{BASE}', an adapter, or '{OPERATOR}'; default nobody.")
    ] = None,
    min_judged: Annotated[float, typer.Option(min=0, max=1, help="The least rating.")] = _DEFAULTS.min_judged,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="Of sampling.")] = _DEFAULTS.temperature,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = _DEFAULTS.seed,
    form: Annotated[
        str,
        typer.Option(
            metavar="|".join(get_args(WritingForm)), help="How it is asked: to continue a text, or in a chat."
        ),
    ] = _DEFAULTS.form,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="After which it ends; default 10 for each row.")
    ] = None,
    max_similarity: Annotated[
        float, typer.Option(min=0.01, max=1, help="ROUGE-L to a seed, held-out or new row that drops a row.")
    ] = _DEFAULTS.max_similarity,
    min_characters: Annotated[int | None, typer.Option(min=0, help="Of a prompt; default by the seeds.")] = None,
    max_characters: Annotated[int | None, typer.Option(min=1, help="Of a prompt; default by the seeds.")] = None,
    any_language: Annotated[bool, typer.Option("--any-language", help="Keep rows in other languages too.")] = False,
    prompt_column: PromptColumn = None,
    completion_column: CompletionColumn = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_bad: SkipBad = False,
    base_model: BaseModelName = None,
    quantization: Quantization = None,
    device: Device = None,
    dtype: DType = None,
    server: Server = None,
    json_: Json = False,
) -> None:
    """Make new rows with a model, sift them, and write into each where it comes from.

    A run that was stopped or killed goes on where it was when the same command is given again. Ends with status 1 when
    fewer rows than wanted were kept.
    """
    if output.exists():
        raise SettingsError(f"{output} exists and is not replaced; name another --output, or delete it")
    task = GenerationTask(
        options=_options(
            recipe=recipe,
            count=count,
            max_attempts=max_attempts,
            temperature=temperature,
            seed=seed,
            form=form,
            max_similarity=max_similarity,
            min_characters=min_characters,
            max_characters=max_characters,
            language=not any_language,
            min_judged=min_judged,
        ),
        seeds=tuple(seeds),
        held_out=tuple(held_out or ()),
        columns=ColumnMapping(prompt=prompt_column, completion=completion_column, text=text_column, label=label_column),
        skip_bad=skip_bad,
        choices=_choices(model, judge),
        output=output,
    )
    chosen = settings(base_model=base_model, quantization=quantization, device=device, dtype=dtype, server=server)
    if chosen.server and (task.columns != BY_NAME or skip_bad):
        raise SettingsError("a server finds columns by their names and skips no row: mend the files, or leave --server")
    generated = generate_there(chosen, task) if chosen.server else generate_here(chosen, task)
    if json_:
        emit_json(generated.to_json())
    else:
        _print(generated, task)
    if generated.kept < count:
        raise typer.Exit(FAILED)


def _choices(model: str, judge: str | None) -> ModelChoices:
    return ModelChoices(
        writer="operator" if model == OPERATOR else "model",
        model=None if model in (BASE, OPERATOR) else model,
        judged_by="nobody" if judge is None else "operator" if judge == OPERATOR else "model",
        judge=None if judge in (BASE, OPERATOR) else judge,
    )


def _options(**values: Any) -> GenerationOptions:
    try:
        return GenerationOptions.model_validate(values)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        flag = str(item["loc"][-1]).replace("_", "-")
        raise typer.BadParameter(f"--{flag}: {item['msg']} (given: {item['input']!r})") from error


def _print(generated: Generated, task: GenerationTask) -> None:
    wanted = task.options.count
    out().print(Text(f"{task.output}: {generated.kept} of {wanted} rows from {generated.attempts} attempts", "bold"))
    for reason, count in generated.dropped.items():
        out().print(Text(f"  {count:5} dropped: {REASONS[reason]} ({reason})"))
    for line in generated.examples:
        out().print(Text(f"        {line}", style="dim"))
