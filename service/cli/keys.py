"""`lorad keys`: key pairs for signing archives."""

import os
from pathlib import Path
from typing import Annotated

import typer

from adapters.signing import SigningKey
from service.cli.console import emit_json, out
from service.cli.options import Json
from service.errors import SettingsError

app = typer.Typer(help="Keys that adapter archives are signed with.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def keys() -> None:
    """Keys that adapter archives are signed with."""


@app.command("generate")
def generate(
    output: Annotated[Path, typer.Option(help="File for the private key; the public one goes beside it, as .pub.")],
    json_: Json = False,
) -> None:
    """Make an Ed25519 key pair; nobody but you can read the private key's file."""
    public = output.with_name(f"{output.name}.pub")
    key = SigningKey.generate()
    _write_new(output, key.private_text, mode=0o600)
    _write_new(public, key.public_text, mode=0o644)
    if json_:
        emit_json({"private_key_file": str(output), "public_key_file": str(public), "public_key": key.public_text})
        return
    console = out()
    console.print(f"sign by     LORAD_SIGNING_KEY_FILE={output}", markup=False)
    console.print(f"trust it by LORAD_TRUSTED_KEYS=name={key.public_text}", markup=False)


def _write_new(path: Path, text: str, *, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise SettingsError(
            f"--output {path} exists and is not replaced: what it signed would be trusted no more"
        ) from error
    except OSError as error:
        raise SettingsError(f"--output {path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
