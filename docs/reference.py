"""Writes docs/reference/*.md from the code: settings, commands and routes. `make reference` runs it."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI

from service.api.app import create_app
from service.api.errors.codes import ERROR_CODES
from service.cli.main import app as command_line
from service.settings import Settings
from training.config import TrainingConfig

FOLDER = Path(__file__).parent / "reference"
_NOTE = "<!-- Written by docs/reference.py from the code; `make reference` writes it again. -->\n\n"


def pages() -> dict[str, str]:
    """File name to content."""
    return {
        "settings.md": _NOTE + "\n".join(_settings()) + "\n",
        "commands.md": _NOTE + "\n".join(_commands()) + "\n",
        "errors.md": _NOTE + "\n".join(_errors()) + "\n",
        "routes.md": _NOTE + "\n".join(_routes(create_app(Settings()))) + "\n",
    }


def _settings() -> Iterator[str]:
    yield "# Settings\n"
    yield "Environment variables; a flag of the same name on a command overrides its variable.\n"
    yield "| variable | default | meaning |\n| --- | --- | --- |"
    for name, field in Settings.model_fields.items():
        yield f"| `LORAD_{name.upper()}` | {_default(field.default)} | {_cell(field.description)} |"
    yield "\n# Training settings\n"
    yield "Flags of `lorad train` and keys of `config` in a `--spec` file.\n"
    yield "| key | default | meaning |\n| --- | --- | --- |"
    for name, field in TrainingConfig.model_fields.items():
        yield f"| `{name}` | {_default(field.default)} | {_cell(field.description)} |"


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield (
        "Data goes to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, "
        "75 stopped and resumable, 130 interrupted.\n"
    )
    group = typer.main.get_command(command_line)
    for path, command in _leaves(group, "lorad"):
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        usage = " ".join([path, *(parameter.name.upper() for parameter in arguments)])
        yield f"## `{usage}`\n\n{command.help}\n"
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        if options:
            yield "| flag | default | meaning |\n| --- | --- | --- |"
        for option in options:
            flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
            yield f"| {flags} | {_default(option.default)} | {_cell(option.help)} |"
        yield ""


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}")


def _routes(app: FastAPI) -> Iterator[str]:
    yield "# Routes\n"
    yield "Request and response bodies with their limits are in the OpenAPI document at `/docs`.\n"
    yield "| method | path | what |\n| --- | --- | --- |"
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            yield f"| {method.upper()} | `{path}` | {_cell(operation.get('description'))} |"


def _errors() -> Iterator[str]:
    yield "# Error codes\n"
    yield "`error.code` of every error, and of a job that has failed. The status and the message are in the answer.\n"
    for part, codes in ERROR_CODES.items():
        yield f"## {part}\n\n| code | meaning |\n| --- | --- |"
        for code, meaning in codes.items():
            yield f"| `{code}` | {_cell(meaning)} |"
        yield ""


def _default(value: object) -> str:
    return "" if value is None or value == "" or value is False else f"`{value}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Writes the pages, or with --check says which are stale."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [name for name, text in pages().items() if _current(name) != text]
    if check and stale:
        sys.exit(f"stale: {', '.join(stale)}; run make reference")
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def _current(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    main()
