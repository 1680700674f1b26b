"""Ed25519 keys, and an archive's signature in front of it.

The signature is an empty gzip member with an extra field, so that `tar xzf` reads a signed archive as any other: a gzip
file may have several members (RFC 1952, 2.2), and the extra field is for the likes of this (2.3.1.1). It covers every
byte after it, and is itself written in one way only; so no byte of a signed archive can change unnoticed, and nothing
of the archive is parsed before it was verified.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from adapters.errors import SigningKeyError, UntrustedArchiveError
from adapters.reference import NAME

PRIVATE_PREFIX: Final = "ed25519-private:"
PUBLIC_PREFIX: Final = "ed25519:"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_CHUNK_BYTES = 1 << 20
_DOMAIN: Final = b"lorad adapter archive, format 1\n"
"""So that a signature made for something else means nothing here."""
_FIELD_BYTES: Final = 1 + _KEY_BYTES + _SIGNATURE_BYTES
# Magic, deflate, extra field present; no time, no flags, unknown system.
_HEADER: Final = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff"
_EXTRA: Final = struct.pack("<H2sHB", 4 + _FIELD_BYTES, b"LD", _FIELD_BYTES, 1)
# An empty deflate block, then its checksum and length.
_EMPTY: Final = b"\x03\x00" + bytes(8)
PREFIX_BYTES: Final = len(_HEADER) + len(_EXTRA) + _KEY_BYTES + _SIGNATURE_BYTES + len(_EMPTY)


@dataclass(frozen=True)
class SigningKey:
    """A private key; its text never appears in a message or a log."""

    _key: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new one."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Read `ed25519-private:…`.

        Raises:
            SigningKeyError: it is anything else.
        """
        return cls(Ed25519PrivateKey.from_private_bytes(_decoded(text, PRIVATE_PREFIX)))

    @property
    def private_text(self) -> str:
        """`ed25519-private:…`, to be kept secret."""
        return PRIVATE_PREFIX + base64.b64encode(self._key.private_bytes_raw()).decode("ascii")

    @property
    def public_text(self) -> str:
        """`ed25519:…`, for those who are to trust it."""
        return public_text(self._public)

    def prefix(self, archive: BinaryIO) -> bytes:
        """What goes before an archive that begins where the file is now."""
        public = self._public
        return _prefix(public, self._key.sign(_statement(public, archive)))

    @property
    def _public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()


def public_text(public: bytes) -> str:
    """`ed25519:…`."""
    return PUBLIC_PREFIX + base64.b64encode(public).decode("ascii")


def parse_trusted(text: str) -> Mapping[bytes, str]:
    """Read `name=ed25519:…,…` as public keys with the names of those who sign by them.

    Raises:
        SigningKeyError: an entry is malformed.
    """
    trusted: dict[bytes, str] = {}
    for number, entry in enumerate((part.strip() for part in text.split(",")), start=1):
        if not entry:
            continue
        name, equals, key = entry.partition("=")
        if not equals or not NAME.fullmatch(name.strip()):
            raise SigningKeyError(f"trusted key {number} is not of the form name={PUBLIC_PREFIX}…")
        trusted[_decoded(key, PUBLIC_PREFIX)] = name.strip()
    return trusted


def is_signed(archive: BinaryIO) -> bool:
    """Whether a file begins as a signed archive does; the file is left at its beginning."""
    archive.seek(0)
    start = archive.read(len(_HEADER) + len(_EXTRA))
    archive.seek(0)
    # Also where a byte of it was changed: what claims to be signed must be signed well.
    return start.startswith(_HEADER[:4]) and start[12:14] == b"LD"


def verify(archive: BinaryIO, trusted: Mapping[bytes, str]) -> str:
    """Check a signed archive before any of it is parsed; the file is left behind the signature.

    Returns:
        The name of who signed it.

    Raises:
        UntrustedArchiveError: it is unsigned, signed by nobody who is trusted, or was changed since.
    """
    if not is_signed(archive):
        raise UntrustedArchiveError(
            "the archive is not signed: have it exported with LORAD_SIGNING_KEY set, or take it on trust with "
            "--allow-unsigned"
        )
    prefix = archive.read(PREFIX_BYTES)
    start = len(_HEADER) + len(_EXTRA)
    public, signature = prefix[start : start + _KEY_BYTES], prefix[start + _KEY_BYTES : -len(_EMPTY)]
    if len(prefix) != PREFIX_BYTES or prefix != _prefix(public, signature):
        raise UntrustedArchiveError("the archive's signature is damaged: ask for the archive again")
    if public not in trusted:
        known = ", ".join(sorted(trusted.values())) or "nobody"
        raise UntrustedArchiveError(
            f"the archive is signed by the unknown key {public_text(public)}; trusted here: {known}. If you know whose "
            "it is, add it to LORAD_TRUSTED_KEYS as name=key"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _statement(public, archive))
    except InvalidSignature as error:
        raise UntrustedArchiveError(
            f"the archive is not what {trusted[public]!r} signed: it was changed or damaged; ask for it again"
        ) from error
    archive.seek(PREFIX_BYTES)
    return trusted[public]


def _statement(public: bytes, archive: BinaryIO) -> bytes:
    # Not hashlib.file_digest, which takes the whole of a file in memory, also what was read already.
    content = hashlib.sha256()
    while chunk := archive.read(_CHUNK_BYTES):
        content.update(chunk)
    return _DOMAIN + public + content.digest()


def _prefix(public: bytes, signature: bytes) -> bytes:
    return _HEADER + _EXTRA + public + signature + _EMPTY


def _decoded(text: str, prefix: str) -> bytes:
    body = text.strip()
    try:
        key = base64.b64decode(body.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not body.startswith(prefix) or len(key) != _KEY_BYTES:
        raise SigningKeyError(
            f"a key is not {prefix}… with {_KEY_BYTES} bytes in base64: make a pair with lorad keys generate"
        )
    return key
