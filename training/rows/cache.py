"""Token rows kept on disk, so that the next run over the same data need not render and tokenise it again.

One safetensors file a set of rows, named by a digest of all that they depend on. A file appears whole by one rename, so
runs that meet in the folder read what is complete or nothing; one that cannot be read is made again.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from base.rendering import Example
from corpus.records import Record
from storage.durable import staged_file
from storage.errors import StagedFolderError
from training.rows.examples import Encoder, Prepared, RefusedRow, prepare

_FORMAT = 1
"""Raised when rendering or truncation change what a row becomes."""
_KEPT = 32
"""Sets of rows; the least recently used go."""


class TokenCache:
    """The rows under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, records: Sequence[Record], encoder: Encoder, max_length: int) -> Prepared:
        """As `training.rows.examples.prepare`, from disk where the same was asked before."""
        file = self._folder / f"{_key(records, encoder, max_length)}.safetensors"
        found = _read(file)
        if found is not None:
            return found
        prepared = prepare(records, encoder, max_length)
        if prepared.examples:
            self._write(file, prepared)
        return prepared

    def _write(self, file: Path, prepared: Prepared) -> None:
        tensors = {
            "input_ids": torch.tensor(
                [token for row in prepared.examples for token in row.input_ids], dtype=torch.int32
            ),
            "labelled": torch.tensor([flag for row in prepared.examples for flag in row.labelled]),
            "lengths": torch.tensor([len(row.input_ids) for row in prepared.examples]),
        }
        told = {"num_truncated": prepared.num_truncated, "refused": [asdict(row) for row in prepared.refused]}
        file.unlink(missing_ok=True)
        # Another run may have written the same rows meanwhile.
        with contextlib.suppress(StagedFolderError), staged_file(file) as staged:
            save_file(tensors, staged, metadata={"prepared": json.dumps(told)})
        kept = sorted(self._folder.glob("*.safetensors"), key=_last_used, reverse=True)
        for old in kept[_KEPT:]:
            old.unlink(missing_ok=True)


def _read(file: Path) -> Prepared | None:
    try:
        with safe_open(file, framework="pt") as stored:
            told = json.loads(stored.metadata()["prepared"])
            ids, labelled, lengths = (stored.get_tensor(name) for name in ("input_ids", "labelled", "lengths"))
        file.touch()
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    parts = zip(ids.split(lengths.tolist()), labelled.split(lengths.tolist()), strict=True)
    examples = tuple(Example(tuple(row.tolist()), tuple(flags.tolist())) for row, flags in parts)
    return Prepared(examples, told["num_truncated"], tuple(RefusedRow(**row) for row in told["refused"]))


def _last_used(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _key(records: Sequence[Record], encoder: Encoder, max_length: int) -> str:
    total = hashlib.sha256()
    facts = [_FORMAT, max_length, asdict(encoder.renderer.identity), _tokenizer_digest(encoder.tokenizer)]
    total.update(json.dumps(facts, sort_keys=True).encode())
    for record in records:
        # A refused row is told by its file and line.
        row = [record.kind, record.file, record.line, record.messages, record.tools, record.text]
        total.update(json.dumps(row, sort_keys=True, default=list).encode() + b"\n")
    return total.hexdigest()[:32]


def _tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # Slow tokenizers have no one description; vocabulary and special tokens stand for it.
    described = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    special = json.dumps(tokenizer.special_tokens_map, sort_keys=True, default=str)
    return hashlib.sha256((described + special).encode()).hexdigest()
