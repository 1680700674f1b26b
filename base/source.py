"""From what a person calls a base (a catalogue name, a folder, a hub id) to a folder on disk."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from base.catalogue import CATALOGUE
from base.errors import InvalidBaseError, UnknownBaseError
from base.fetch import fetch

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
_HUB_FILES = ["*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"]


@dataclass(frozen=True)
class BaseSource:
    """A base on disk and the name it goes by."""

    name: str
    folder: Path


def locate(model: str, home: Path, report: Callable[[str], None], *, fetch_missing: bool = True) -> BaseSource:
    """Finds the base called `model` and fetches it where that is allowed.

    Args:
        model: a catalogue name, a path of a local transformers folder, or a hub id (`organisation/name`).
        home: where catalogue bases live.
        report: receives progress lines.
        fetch_missing: fetch a catalogue base that is not on disk yet, if its licence lets it be fetched unasked.

    Raises:
        UnknownBaseError: nothing has this name, or it must be fetched by hand first.
        InvalidBaseError: the folder exists but is no transformers model with safetensors weights.
    """
    if model in CATALOGUE:
        return BaseSource(model, _catalogue_folder(model, home, report, fetch_missing=fetch_missing))
    path = Path(model).expanduser()
    if path.is_dir():
        return BaseSource(path.resolve().name, checked_folder(path.resolve()))
    if _HUB_ID.match(model) and not path.exists():
        return BaseSource(model, checked_folder(_hub_folder(model)))
    nearest = difflib.get_close_matches(model, CATALOGUE, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise UnknownBaseError(
        f"no base {model!r}: it is neither in the catalogue ({', '.join(CATALOGUE)}), nor a folder, nor a hub id{hint}"
    )


def _catalogue_folder(name: str, home: Path, report: Callable[[str], None], *, fetch_missing: bool) -> Path:
    folder = home / name
    if folder.is_dir():
        return checked_folder(folder)
    entry = CATALOGUE[name]
    if not (fetch_missing and entry.fetched_unasked):
        raise UnknownBaseError(
            f"base {name} ({entry.licence}) is not in {home}; fetch it once with: lorad base fetch {name}"
        )
    return fetch(entry, home, report)


def _hub_folder(model: str) -> Path:
    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise UnknownBaseError(
            f"base {model!r} is not in the local hub cache and could not be downloaded "
            f"({type(error).__name__}); check the id and the network, or give a local folder"
        ) from error


def checked_folder(folder: Path) -> Path:
    """Returns `folder` if it looks like a transformers model with safetensors weights.

    Raises:
        InvalidBaseError: a needed file is missing, or the weights are pickles.
    """
    if not (folder / "config.json").is_file():
        raise InvalidBaseError(f"{folder} holds no config.json: a base is a transformers model folder")
    if not any(folder.glob("*.safetensors")):
        raise InvalidBaseError(f"{folder} holds no *.safetensors weights; convert them first: pickled weights are code")
    return folder
