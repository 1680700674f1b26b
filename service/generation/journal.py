"""Outcomes in a file beside the output, one line each, flushed before the next attempt is looked at."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from service.generation.errors import JournalError
from service.generation.outcome import Outcome
from storage.durable import flush


class Journal:
    """One generation's outcomes; made by `open_journal`.

    Args:
        stream: Of the file, at its end.
        known: What stands in it.
    """

    def __init__(self, stream: IO[bytes], known: list[Outcome]) -> None:
        self._stream = stream
        self._outcomes = known
        self._attempts = {outcome.attempt for outcome in known}

    def known(self) -> list[Outcome]:
        """What is written down."""
        return list(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Writes one down, durably."""
        if outcome.attempt in self._attempts:
            return
        self._stream.write(json.dumps(asdict(outcome), ensure_ascii=False).encode() + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._outcomes.append(outcome)
        self._attempts.add(outcome.attempt)


def journal_path(output: Path) -> Path:
    """Where the journal of an output lies while it is not complete."""
    return output.with_name(f".{output.name}.journal")


@contextmanager
def open_journal(output: Path, digest: str) -> Iterator[Journal]:
    """The journal of a generation, begun or gone on with, for the time of the block.

    Args:
        output: The file that comes of it.
        digest: Of the plan: what another plan has begun is not gone on with.

    Raises:
        JournalError: It is of another plan, is damaged, or another process writes it.
    """
    path = journal_path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(f"another process generates {output} now; name another --output, or let it end") from None
    try:
        known = _read(path, output, digest)
        with path.open("ab") as stream:
            yield Journal(stream, known)
    finally:
        lock.release()


def remove_journal(output: Path) -> None:
    """The output is complete: nothing is left to go on with."""
    journal_path(output).unlink(missing_ok=True)
    Path(f"{journal_path(output)}.lock").unlink(missing_ok=True)


def _read(path: Path, output: Path, digest: str) -> list[Outcome]:
    """What stands in the journal; a line that a kill has cut is cut off, a journal without a heading is begun anew."""
    content = path.read_bytes() if path.exists() else b""
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.splitlines()
    if not lines:
        path.write_bytes(json.dumps({"plan": digest}).encode() + b"\n")
        flush(path)
        flush(path.parent)
        return []
    try:
        head, *rest = (json.loads(line) for line in lines)
        begun = head["plan"]
        outcomes = [Outcome(**line) for line in rest]
    except (ValueError, TypeError, KeyError) as error:
        raise JournalError(f"{path} is damaged ({error}); delete it to begin anew") from error
    if begun != digest:
        raise JournalError(
            f"{path} holds {len(outcomes)} attempts of another generation for {output}: its recipe, model, seeds, "
            "held-out rows or settings differ. Give those, name another --output, or delete the journal to begin anew"
        )
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return outcomes
