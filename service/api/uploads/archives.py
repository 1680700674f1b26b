"""An archive that a client sent, as the next version of a name."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import Depends, Request

from adapters.archive import ArchiveLimits, unpack
from adapters.publication import Submission
from adapters.reference import check_name
from adapters.transfer import received
from adapters.version import Change, Version
from service.api.auth.keys import Principal
from service.api.auth.principal import Publisher
from service.api.state import ServerState
from service.api.uploads.forms import read_form
from service.inference.inference import Inference
from service.registry.publication import publish_bounded
from service.registry.signing import trust


@dataclass(frozen=True)
class Upload:
    """What the form holds."""

    name: str
    file: BinaryIO


async def _read_upload(request: Request, _rights: Publisher) -> AsyncIterator[Upload]:
    async with read_form(request, "name", "a .zip or .tar.gz file") as form:
        yield Upload(form.text, form.file)


Uploaded = Annotated[Upload, Depends(_read_upload)]
"""The form of an upload, closed after the response."""


def publish_upload(inference: Inference, state: ServerState, principal: Principal, upload: Upload) -> Version:
    """Unpacks and checks the archive and publishes what it holds.

    Raises:
        InvalidNameError: the name is malformed, or the base's own.
        InvalidAdapterError: the archive or what it holds cannot be used here.
        BaseMismatchError: it was made for another base.
    """
    check_name(upload.name)
    limits = ArchiveLimits(archive_bytes=state.settings.max_upload_bytes)
    with state.registry.folders.stage() as folder:
        unpack(upload.file, folder, limits)
        submission = Submission(
            tenant=principal.tenant,
            name=upload.name,
            folder=folder,
            source="upload",
            change=Change(actor=principal.tenant),
        )
        in_use = inference.engine.in_use()
        return publish_bounded(state.registry, submission, inference.facts, state.settings, in_use)


def import_upload(
    inference: Inference, state: ServerState, principal: Principal, upload: Upload, *, allow_unsigned: bool
) -> Version:
    """Verifies a signed archive, then publishes what it holds with all that its registry knew of it.

    Raises:
        UntrustedArchiveError: it is unsigned, changed, or signed by nobody whom the server trusts.
        AdapterError: as in `publish_upload`.
    """
    limits = ArchiveLimits(archive_bytes=state.settings.max_upload_bytes)
    with received(state.registry, upload.file, trust(state.settings, allow_unsigned), limits) as found:
        submission = found.submission(principal.tenant, upload.name or None, Change(actor=principal.tenant))
        return publish_bounded(state.registry, submission, inference.facts, state.settings, inference.engine.in_use())
