"""`/v1/files`."""

from typing import Any, Literal

from service.api.schemas.schema import Reply
from service.files.stored_file import Purpose, Status, StoredFile
from service.page import Page


class FileReply(Reply):
    """OpenAI's file object, with lorad's `digest`."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """Unix time."""
    filename: str
    purpose: Purpose
    status: Status
    """`error`: no row of it can be learnt."""
    status_details: str | None
    """Rows that cannot be used, by line, and the way out."""
    expires_at: None = None
    """Files stay until they are deleted."""
    digest: str
    """`sha256:` and 64 hexadecimal digits, over its bytes."""

    @classmethod
    def of(cls, file: StoredFile) -> "FileReply":
        """Of a stored file."""
        return cls(
            id=file.id,
            bytes=file.bytes,
            created_at=int(file.created_at.timestamp()),
            filename=file.filename,
            purpose=file.purpose,
            status=file.status,
            status_details=file.status_details,
            digest=f"sha256:{file.digest}",
        )


class FileList(Reply):
    """Newest first, unless asked for otherwise."""

    object: Literal["list"] = "list"
    data: list[FileReply]
    has_more: bool
    first_id: str | None
    last_id: str | None
    """Cursor of the next page."""

    @classmethod
    def of(cls, page: Page[StoredFile]) -> "FileList":
        """Of a page."""
        data = [FileReply.of(file) for file in page.data]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=page.has_more, first_id=first, last_id=last)


class FileDeleted(Reply):
    """What is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FileReport(Reply):
    """What `lorad data check` says about a file, for the base that this server has."""

    refused: bool
    """Whether a job over this file would fail."""
    base: dict[str, Any]
    max_length: int
    """Tokens after which rows are cut."""
    train: dict[str, Any]
    """Rows, tokens, classes, languages and findings; refusals first."""
    validation: dict[str, Any] | None
    estimate: dict[str, Any] | None
    """Steps, tokens and memory of a run; null where no row is usable."""
    choices: list[dict[str, Any]]
    """What is chosen where a setting is `auto`, and why."""
    config: dict[str, Any] | None
    """What the job would then use."""
    findings: list[dict[str, Any]]
    """About the run."""
