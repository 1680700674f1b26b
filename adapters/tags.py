"""Tags of versions: a key with a value, or a key alone as a label."""

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import func, select

from adapters.errors import InvalidTagError
from adapters.events import TAG, UNTAG, Happening, remember
from adapters.reference import NAME
from adapters.registry import Registry
from adapters.rows import find_adapter, find_version
from adapters.tables import TagRow
from adapters.version import Change, Version

MAX_TAGS: Final = 32
"""Of one version."""
MAX_VALUE_CHARS: Final = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def checked_tags(tags: Mapping[str, str]) -> Mapping[str, str]:
    """Return well-formed tags unchanged.

    Raises:
        InvalidTagError: names the tag, the limit and what to do.
    """
    if len(tags) > MAX_TAGS:
        raise InvalidTagError(f"{len(tags)} tags are more than the {MAX_TAGS} that a version may have: remove some")
    for key, value in tags.items():
        if not NAME.fullmatch(key):
            raise InvalidTagError(
                f"tag key {key[:80]!r} is not valid: use 1 to 64 of a-z, 0-9, '.', '_', '-'; a letter or digit first"
            )
        if len(value) > MAX_VALUE_CHARS or _CONTROL.search(value):
            raise InvalidTagError(
                f"the value of tag {key!r} is not valid: use at most {MAX_VALUE_CHARS} characters and no control "
                f"characters (given: {len(value)} characters)"
            )
    return tags


def set_tags(
    registry: Registry, tenant: str, name: str, number: int, tags: Mapping[str, str], change: Change
) -> Version:
    """Attach tags to a version, in the place of those with the same keys.

    Raises:
        UnknownAdapterError, UnknownVersionError: there is nothing of that name.
        InvalidTagError: a tag is not well formed, or the version would have too many.
    """
    checked_tags(tags)
    with registry.writing() as session:
        adapter = find_adapter(session, tenant, name)
        row = find_version(session, adapter, number)
        changed = {}
        for key, value in tags.items():
            tag = session.get(TagRow, (row.id, key))
            if tag is None:
                session.add(TagRow(version_id=row.id, key=key, value=value))
            if tag is None or tag.value != value:
                changed[key] = value
            if tag is not None:
                tag.value = value
        session.flush()
        count = session.scalar(select(func.count()).select_from(TagRow).where(TagRow.version_id == row.id)) or 0
        if count > MAX_TAGS:
            raise InvalidTagError(f"version {name}:{number} would have {count} tags, the limit is {MAX_TAGS}")
        if changed:
            remember(session, adapter, Happening(kind=TAG, number=number, details={"tags": {**changed}}), change)
        return registry.version(session, adapter, row)


def remove_tag(registry: Registry, tenant: str, name: str, number: int, key: str, change: Change) -> Version:
    """Take a tag off a version; one that is not there is no error.

    Raises:
        UnknownAdapterError, UnknownVersionError: there is nothing of that name.
    """
    with registry.writing() as session:
        adapter = find_adapter(session, tenant, name)
        row = find_version(session, adapter, number)
        tag = session.get(TagRow, (row.id, key))
        if tag is not None:
            session.delete(tag)
            remember(session, adapter, Happening(kind=UNTAG, number=number, details={"tags": {key: tag.value}}), change)
            session.flush()
        return registry.version(session, adapter, row)
