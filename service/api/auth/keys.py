"""API keys: who they belong to and what they allow."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from adapters.errors import InvalidNameError
from adapters.reference import check_name
from service.errors import SettingsError

Scope = Literal["infer", "train", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Principal:
    """On whose behalf a request is made."""

    tenant: str
    scopes: frozenset[Scope]
    """infer: read and generate; train: change adapters; admin: manage the server."""


class Keys:
    """The keys that the server accepts; only their digests are kept.

    Args:
        principals: by SHA-256 of the key.
    """

    def __init__(self, principals: Sequence[tuple[bytes, Principal]]) -> None:
        self._principals = tuple(principals)

    @classmethod
    def parse(cls, text: str) -> "Keys":
        """Reads `tenant=key,…`, or `tenant:scope=key` for a key of one scope.

        Raises:
            SettingsError: an entry is malformed or a key is given twice; no message holds a key.
        """
        principals: dict[bytes, Principal] = {}
        for number, entry in enumerate((part.strip() for part in text.split(",")), start=1):
            if not entry:
                continue
            key, principal = _entry(entry, number)
            if _digest(key) in principals:
                raise SettingsError(
                    f"LORAD_API_KEYS: the key of entry {number} is given twice; one key has one meaning"
                )
            principals[_digest(key)] = principal
        return cls(list(principals.items()))

    def __bool__(self) -> bool:
        return bool(self._principals)

    def principal(self, key: str) -> Principal | None:
        """Whose key it is, found in a time that says nothing about the keys."""
        digest, found = _digest(key), None
        for known, principal in self._principals:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def _entry(entry: str, number: int) -> tuple[str, Principal]:
    owner, equals, key = entry.partition("=")
    tenant, colon, scope = owner.strip().partition(":")
    if not equals or not key.strip():
        raise SettingsError(f"LORAD_API_KEYS: entry {number} is not of the form tenant=key or tenant:scope=key")
    try:
        check_name(tenant, "tenant")
    except InvalidNameError as error:
        raise SettingsError(f"LORAD_API_KEYS: entry {number}: {error}") from error
    return key.strip(), Principal(tenant, _scopes(scope, number) if colon else SCOPES)


def _scopes(scope: str, number: int) -> frozenset[Scope]:
    for known in SCOPES:
        if scope == known:
            return frozenset([known])
    nearest = get_close_matches(scope, SCOPES, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    raise SettingsError(f"LORAD_API_KEYS: entry {number}: scope {scope[:40]!r} is none of infer, train, admin{hint}")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
