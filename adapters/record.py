"""What the registry knows of a version, in a file that goes along with it: `registry.json` of a signed archive."""

import json
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from adapters.errors import InvalidAdapterError
from adapters.files import MAX_JSON_BYTES, RECORD, parse_object
from adapters.manifest import Digest
from adapters.version import Event, Version

MAX_EVENTS: Final = 200
"""The newest ones of the adapter's history that go along."""
_Words = Annotated[str, Field(max_length=2000)]


class _Part(BaseModel):
    # Unknown keys are refused because a signature covers them; tuples and times arrive as JSON, so not strict.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecordedEvent(_Part):
    """One event of the adapter's history."""

    kind: Annotated[str, Field(max_length=16)]
    at: datetime
    actor: _Words
    reason: _Words
    alias: Annotated[str, Field(max_length=64)] | None
    from_number: int | None
    number: int | None
    job_id: Annotated[str, Field(max_length=64)] | None
    details: dict[str, JsonValue]


class Record(_Part):
    """The whole of `registry.json`."""

    format: Literal[1] = 1
    name: Annotated[str, Field(max_length=64)]
    number: int | None
    checkpoint_step: int | None
    digest: Digest
    created_at: datetime
    source: Annotated[str, Field(max_length=64)]
    job_id: Annotated[str, Field(max_length=64)] | None
    metrics: dict[str, float]
    lineage: dict[str, JsonValue]
    tags: dict[str, str]
    aliases: Annotated[tuple[str, ...], Field(max_length=10_000)]
    history: Annotated[tuple[RecordedEvent, ...], Field(max_length=MAX_EVENTS)]
    """Oldest first."""

    @classmethod
    def of(cls, version: Version, history: list[Event]) -> "Record":
        """Of a version and its adapter's history, newest first."""
        events = [
            RecordedEvent.model_validate(vars(event), from_attributes=False, extra="ignore")
            for event in reversed(history[:MAX_EVENTS])
        ]
        return cls(
            name=version.name,
            number=version.number,
            checkpoint_step=version.checkpoint_step,
            digest=version.digest,
            created_at=version.created_at,
            source=version.source,
            job_id=version.job_id,
            metrics=dict(version.metrics),
            lineage=dict(version.lineage),
            tags=dict(version.tags),
            aliases=version.aliases,
            history=tuple(events),
        )

    @classmethod
    def parse(cls, content: bytes) -> "Record":
        """Read the bytes of a `registry.json`.

        Raises:
            InvalidAdapterError: names the field that does not fit.
        """
        try:
            return cls.model_validate(parse_object(content, RECORD))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part)[:60] for part in first["loc"])
            raise InvalidAdapterError(f"{RECORD}: {where}: {first['msg']}") from error

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, ASCII, one newline at the end.

        Raises:
            InvalidAdapterError: it would be larger than 1 MiB.
        """
        values = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False)
        if len(values) >= MAX_JSON_BYTES:
            raise InvalidAdapterError(f"{RECORD} would have {len(values) + 1} bytes, the limit is {MAX_JSON_BYTES}")
        return values.encode("ascii") + b"\n"
