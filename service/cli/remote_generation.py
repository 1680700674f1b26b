"""Data generation by a running server: files up, rows down."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from service.cli.client import Client
from service.cli.console import INTERRUPTED, err, say
from service.cli.local_generation import Generated, GenerationTask
from service.errors import RemoteError
from service.settings import Settings
from storage.durable import staged_file

_PATH = "/v1/data/generations"
_LOOK_SECONDS = 1.0
_ENDED = ("completed", "partial", "cancelled", "failed")


def generate_there(settings: Settings, task: GenerationTask) -> Generated:
    """Sends the files, follows the generation, and fetches what comes of it to `task.output`.

    Raises:
        RemoteError: the server refuses, or the generation has failed.
    """
    assert settings.server is not None
    client = Client(settings.server, settings.api_key)
    body = {
        **task.options.model_dump(mode="json"),
        **task.choices.model_dump(mode="json"),
        "seeds": _uploaded(client, task.seeds),
        "held_out": _uploaded(client, task.held_out),
        "filename": f"{task.output.stem}.jsonl",
    }
    begun = client.call("POST", "/v1/data/generate", json=body)
    ended = _followed(client, begun["id"], task.options.count)
    if ended["file_id"] is None:
        raise RemoteError(f"{ended['id']} is {ended['status']} and has kept no row: {ended['error'] or 'cancelled'}")
    with staged_file(task.output) as staged:
        staged.write_bytes(client.download(f"/v1/files/{ended['file_id']}/content"))
    if ended["error"]:
        say(ended["error"])
    return Generated(
        status=ended["status"],
        kept=ended["kept"],
        attempts=ended["attempts"],
        dropped=ended["dropped"],
        examples=tuple(ended["examples"]),
        model=ended["model"],
        digest=ended["digest"],
        output=str(task.output),
        file_id=ended["file_id"],
    )


def _uploaded(client: Client, paths: Sequence[Path]) -> list[str]:
    ids = []
    for path in paths:
        with path.open("rb") as stream:
            sent = client.call("POST", "/v1/files", data={"purpose": "fine-tune"}, files={"file": (path.name, stream)})
        ids.append(sent["id"])
    return ids


def _followed(client: Client, generation_id: str, wanted: int) -> dict[str, Any]:
    try:
        with err().status(f"{generation_id} waits") as status:
            while True:
                told: dict[str, Any] = client.call("GET", f"{_PATH}/{generation_id}")
                if told["status"] in _ENDED:
                    return told
                status.update(f"generating: {told['kept']} of {wanted} rows, {told['attempts']} attempts")
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        say(f"{generation_id} goes on; POST {_PATH}/{generation_id}/cancel ends it")
        raise typer.Exit(INTERRUPTED) from None
