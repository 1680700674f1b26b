"""Token rows kept on disk, so that the next run over the same file need not render and tokenise them again.

One safetensors file for each data file, template and tokenizer, named by a digest of all three; in it a row is found by
a digest of what it says, so it serves whatever sample, length or columns a run asks for. A file appears whole by one
rename: runs that meet in the folder read what is complete or nothing, and the last one's rows stay. What is damaged, or
cannot be written, costs time and nothing else.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from base.rendering import Example
from corpus.records import Record
from storage.durable import staged_file
from storage.errors import StagedFolderError
from training.rows.examples import Encoder

_FORMAT = 2
"""Raised when rendering changes what a row becomes."""
_LIBRARIES = ("transformers", "tokenizers")
_MAX_BYTES = 2 << 30
"""Of all files together; those not used for longest go."""
_ROW_DIGEST_BYTES = 16
_ABANDONED_SECONDS = 86_400
"""A file still being written after so long belongs to a run that was killed."""


class TokenCache:
    """The files under `folder`, at most `max_bytes` of them."""

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def rows(self, data_digest: str, encoder: Encoder) -> "CachedRows":
        """What is kept of the data file with that digest, as `encoder` renders it; often nothing yet."""
        facts = [
            _FORMAT,
            data_digest,
            asdict(encoder.renderer.identity),
            _tokenizer_digest(encoder.tokenizer),
            [version(library) for library in _LIBRARIES],
        ]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        return CachedRows(self, self._folder / f"{key}.safetensors")

    def make_room(self) -> None:
        """Remove what was not used for longest, and what killed runs left behind."""
        kept = 0
        for file in sorted(self._folder.glob("*.safetensors"), key=_last_used, reverse=True):
            kept += _size(file)
            if kept > self._max_bytes:
                file.unlink(missing_ok=True)
        for staged in self._folder.glob(".*.safetensors.*"):
            if time.time() - _last_used(staged) > _ABANDONED_SECONDS:
                staged.unlink(missing_ok=True)


class CachedRows:
    """The token rows of one data file."""

    def __init__(self, cache: TokenCache, file: Path) -> None:
        self._cache = cache
        self._file = file
        self._stored = _read(file)
        self._places = _places(self._stored)
        self._new: dict[bytes, Example] = {}

    def find(self, record: Record) -> Example | None:
        """The whole row, if an earlier run has encoded it."""
        place = self._places.get(_row_digest(record))
        if place is None:
            return None
        start, end = place
        ids, labelled = self._stored["input_ids"], self._stored["labelled"]
        return Example(tuple(ids[start:end].tolist()), tuple(labelled[start:end].tolist()))

    def keep(self, record: Record, example: Example) -> None:
        """Remember a row for the next `save`."""
        self._new[_row_digest(record)] = example

    def save(self) -> None:
        """Write the rows that were not there yet, beside those that were."""
        if not self._new:
            return
        content = _joined(self._stored, self._new)
        # A full or read-only disk must not end a run, and another run may have written the same rows meanwhile.
        with contextlib.suppress(OSError, SafetensorError, StagedFolderError):
            self._file.unlink(missing_ok=True)
            with staged_file(self._file) as staged:
                save_file(content, staged, metadata={"digest": _digest(content)})
            self._cache.make_room()


def _read(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as stored:
            content = {name: stored.get_tensor(name) for name in _joined({}, {})}
            told = stored.metadata()["digest"]
        if told != _digest(content):
            return _joined({}, {})
        file.touch()
    # A RuntimeError is how torch says that another run has just replaced the file.
    except (OSError, RuntimeError, SafetensorError, KeyError, TypeError):
        return _joined({}, {})
    return content


def _joined(stored: Mapping[str, Tensor], new: Mapping[bytes, Example]) -> dict[str, Tensor]:
    """`stored` with the rows of `new` after it: N rows of T tokens together.

    `rows` [N, 16], `lengths` [N], `input_ids` [T] and `labelled` [T].
    """
    added = {
        "rows": torch.tensor([list(row) for row in new], dtype=torch.uint8).view(-1, _ROW_DIGEST_BYTES),
        "lengths": torch.tensor([len(row.input_ids) for row in new.values()], dtype=torch.int32),
        "input_ids": torch.tensor([token for row in new.values() for token in row.input_ids], dtype=torch.int32),
        "labelled": torch.tensor([flag for row in new.values() for flag in row.labelled], dtype=torch.bool),
    }
    return {name: torch.cat([stored[name], part]) if stored else part for name, part in added.items()}


def _places(stored: Mapping[str, Tensor]) -> dict[bytes, tuple[int, int]]:
    rows = stored["rows"].numpy().tobytes()
    digests = (rows[at : at + _ROW_DIGEST_BYTES] for at in range(0, len(rows), _ROW_DIGEST_BYTES))
    return dict(zip(digests, pairwise(accumulate(stored["lengths"].tolist(), initial=0)), strict=True))


def _digest(content: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(content):
        total.update(content[name].numpy().tobytes())
    return total.hexdigest()


def _row_digest(record: Record) -> bytes:
    said = [record.kind, record.messages, record.tools, record.text]
    return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=_ROW_DIGEST_BYTES).digest()


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # Slow tokenizers have no one description; vocabulary and special tokens stand for it.
    described = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return hashlib.sha256((described + special).encode()).hexdigest()


def _last_used(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
