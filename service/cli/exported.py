"""What `lorad adapters` reads and writes beside the registry."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from adapters.archive import unpack
from adapters.errors import InvalidAdapterError
from adapters.reference import Reference
from service.errors import SettingsError
from storage.durable import staged_file, staged_folder


def require_folder(folder: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        InvalidAdapterError: it is none.
    """
    if not folder.is_dir():
        raise InvalidAdapterError(f"{folder} is no folder; name one that holds adapter_config.json and its weights")


def name_or_number(reference: str) -> Reference:
    """`name` or `name:N`.

    Raises:
        SettingsError: it is a reference of another kind.
    """
    parsed = Reference.parse(reference)
    if parsed.alias is not None or parsed.checkpoint_step is not None:
        raise SettingsError(f"{reference!r}: this takes a name or name:N; remove an alias with alias --delete")
    return parsed


def write_export(archive: bytes, output: Path) -> None:
    """Write an adapter's archive as it is, or as the folder that it holds.

    Raises:
        SettingsError: something is there.
    """
    if output.name.endswith(".tar.gz"):
        with write_archive(output) as file:
            file.write(archive)
        return
    _refuse_existing(output)
    with staged_folder(output) as staged:
        unpack(io.BytesIO(archive), staged)


@contextmanager
def write_archive(output: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends well.

    Raises:
        SettingsError: something is there.
    """
    _refuse_existing(output)
    with staged_file(output) as staged, staged.open("xb") as file:
        yield file
        file.flush()


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise SettingsError(f"--output {output} exists; name another or remove it")
