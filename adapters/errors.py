"""What can go wrong with adapters.

AdapterError
├── InvalidNameError         a name, alias or reference is not well formed
├── UnknownAdapterError      the tenant has no adapter of that name
├── UnknownVersionError      the adapter has no such version
├── UnknownAliasError        the adapter has no such alias
├── InvalidAdapterError      a folder, archive, configuration or weights file is malformed or unsupported
│   └── BaseMismatchError    the adapter was made for another base
├── AliasInUseError          a version that aliases point to was to be deleted
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


class AliasInUseError(AdapterError):
    """A version that aliases point to was to be deleted."""

    def __init__(self, name: str, number: int, aliases: Iterable[str]) -> None:
        self.aliases = tuple(aliases)
        super().__init__(
            f"version {name}:{number} is what {', '.join(f'{name}@{alias}' for alias in self.aliases)} points to: "
            "move or delete the alias first"
        )


class NoEarlierVersionError(AdapterError):
    """An alias has nothing to go back to."""


def nearest(word: str, known: Iterable[str]) -> tuple[str, ...]:
    """The known words closest to a mistyped one, best first."""
    return tuple(get_close_matches(word, list(known), n=3, cutoff=0.6))


def _suggestion(words: tuple[str, ...]) -> str:
    return f"; did you mean {' or '.join(repr(word) for word in words)}?" if words else ""
