"""What can go wrong with adapters.

AdapterError
├── InvalidNameError         a name, alias or reference is not well formed
├── UnknownAdapterError      the tenant has no adapter of that name
├── UnknownVersionError      the adapter has no such version
├── UnknownAliasError        the adapter has no such alias
├── InvalidAdapterError      a folder, archive, configuration or weights file is malformed or unsupported
│   ├── BaseMismatchError    the adapter was made for another base
│   └── UntrustedArchiveError  an archive is unsigned, changed, or signed by nobody who is trusted
├── InvalidTagError          a tag is not well formed, or one too many
├── InvalidSearchError       a condition of a search is not well formed
├── AliasInUseError          a version that aliases point to was to be deleted
├── AliasMovedError          an alias no longer points where the caller thinks
├── SupersededJobError       a job publishes checkpoints under a name that a newer job has taken over
├── SigningKeyError          a key for signing archives is missing or malformed
└── NoEarlierVersionError    an alias has nothing to go back to
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AdapterError(Exception):
    """Root of every error that this package raises for its callers."""


class InvalidNameError(AdapterError):
    """A name, alias or reference is not well formed."""


class UnknownAdapterError(AdapterError):
    """The tenant has no adapter of that name.

    Args:
        name: the name asked for.
        known: the tenant's own names; the nearest few are shown.
    """

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.nearest = nearest(name, known)
        super().__init__(f"there is no adapter {name!r}{_suggestion(self.nearest)}")


class UnknownVersionError(AdapterError):
    """The adapter has no such version."""


class UnknownAliasError(AdapterError):
    """The adapter has no such alias."""

    def __init__(self, name: str, alias: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.alias = alias
        self.nearest = nearest(alias, known)
        super().__init__(f"adapter {name!r} has no alias {alias!r}{_suggestion(self.nearest)}")


class InvalidAdapterError(AdapterError):
    """A folder, archive, configuration or weights file is malformed, or asks for what is not supported."""


class BaseMismatchError(InvalidAdapterError):
    """The adapter was made for another base.

    Args:
        expected: digest and name of the base that is served.
        found: digest and name of the base that the adapter was made for.
    """

    def __init__(self, expected: tuple[str, str], found: tuple[str, str]) -> None:
        self.expected_digest, expected_name = expected
        self.found_digest, found_name = found
        super().__init__(
            f"the adapter was made for base {found_name!r} ({self.found_digest}), but the base here is "
            f"{expected_name!r} ({self.expected_digest}): serve that base, or train the adapter again on this one"
        )


class UntrustedArchiveError(InvalidAdapterError):
    """An archive is unsigned, was changed after it was signed, or is signed by nobody who is trusted."""


class InvalidTagError(AdapterError):
    """A tag is not well formed, or a version would have too many."""


class InvalidSearchError(AdapterError):
    """A condition of a search is not well formed.

    Args:
        param: the condition's name.
        message: what is wrong with it, and what is right.
    """

    param: str = "query"

    def __init__(self, param: str, message: str) -> None:
        self.param = param
        super().__init__(f"{param}: {message}")


class AliasInUseError(AdapterError):
    """A version that aliases point to was to be deleted."""

    def __init__(self, name: str, number: int, aliases: Iterable[str]) -> None:
        self.aliases = tuple(aliases)
        super().__init__(
            f"version {name}:{number} is what {', '.join(f'{name}@{alias}' for alias in self.aliases)} points to: "
            "move or delete the alias first"
        )


class AliasMovedError(AdapterError):
    """An alias no longer points where the caller thinks, so nothing was moved.

    Args:
        name: of the adapter.
        alias: the alias.
        expected: version the caller expects; None: no such alias.
        found: version it points to; None: there is no such alias.
    """

    def __init__(self, name: str, alias: str, expected: int | None, found: int | None) -> None:
        self.expected = expected
        self.found = found
        points = f"points to version {found}" if found is not None else "does not exist"
        thought = f"version {expected}" if expected is not None else "that it does not exist"
        super().__init__(
            f"alias {name}@{alias} {points}, but {thought} was expected: somebody else moved it; look at the "
            "adapter's history, then promote again with the version it points to now"
        )


class SupersededJobError(AdapterError):
    """A job publishes checkpoints under a name that a newer job has taken over."""

    def __init__(self, name: str, job_id: str, newer: str) -> None:
        super().__init__(
            f"checkpoints of job {job_id} are not published as {name!r} any more: the newer job {newer} publishes "
            "its own under this name"
        )


class SigningKeyError(AdapterError):
    """A key for signing or verifying archives is missing or malformed; no message holds a private key."""


class NoEarlierVersionError(AdapterError):
    """An alias has nothing to go back to."""


def nearest(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The known words closest to a mistyped one, best first."""
    return tuple(get_close_matches(word, list(known), n=3, cutoff=0.6))


def _suggestion(words: tuple[str, ...]) -> str:
    return f"; did you mean {' or '.join(repr(word) for word in words)}?" if words else ""
