"""References to adapter versions, as users write them."""

import re
from dataclasses import dataclass

from adapters.errors import InvalidNameError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_CHECKPOINT = "ckpt-step-"


def check_name(value: str, what: str = "name") -> str:
    """Return a well-formed adapter name or alias unchanged.

    Raises:
        InvalidNameError: it does not match `^[a-z0-9][a-z0-9._-]{0,63}$`.
    """
    if not NAME.fullmatch(value):
        raise InvalidNameError(
            f"{what} {value[:80]!r} is not valid: use 1 to 64 of a-z, 0-9, '.', '_', '-'; the first a letter or digit"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Which version of which adapter; at most one of the three selectors is given.

    Without a selector it means the newest ready version.
    """

    name: str
    number: int | None = None
    """`name:3`: exactly this version."""
    alias: str | None = None
    """`name@production`: the version the alias points to now."""
    checkpoint_step: int | None = None
    """`name:ckpt-step-100`: the checkpoint that training took at this step."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.alias is not None:
            check_name(self.alias, "alias")
        given = [value for value in (self.number, self.alias, self.checkpoint_step) if value is not None]
        if len(given) > 1:
            raise InvalidNameError(f"reference to {self.name!r} has {len(given)} selectors: give one at most")
        for value in (self.number, self.checkpoint_step):
            if value is not None and not _NUMBER.fullmatch(str(value)):
                raise InvalidNameError(f"number {value} in a reference to {self.name!r} is not in 1..999999999")

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `name`, `name:N`, `name@alias` or `name:ckpt-step-N`.

        Raises:
            InvalidNameError: the text is none of these.
        """
        name, at, alias = text.partition("@")
        if at:
            return cls(name=name, alias=alias)
        name, colon, selector = text.partition(":")
        if not colon:
            return cls(name=name)
        if selector.startswith(_CHECKPOINT):
            return cls(name=name, checkpoint_step=_number(selector.removeprefix(_CHECKPOINT), text))
        return cls(name=name, number=_number(selector, text))

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.name}:{self.number}"
        if self.alias is not None:
            return f"{self.name}@{self.alias}"
        if self.checkpoint_step is not None:
            return f"{self.name}:{_CHECKPOINT}{self.checkpoint_step}"
        return self.name


def _number(digits: str, text: str) -> int:
    if not _NUMBER.fullmatch(digits):
        raise InvalidNameError(
            f"reference {text[:120]!r} is not valid: write name, name:N, name@alias or name:{_CHECKPOINT}N, "
            "with N in 1..999999999"
        )
    return int(digits)
