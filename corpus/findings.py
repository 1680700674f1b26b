"""What a check has to say about rows: refusals and warnings, with counts, examples and the way out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Severity = Literal["refusal", "warning"]

NUM_SAMPLES = 5
SAMPLE_CHARACTERS = 160


class Located(Protocol):
    """What stands in a row: a record, a bad row, a sample."""

    @property
    def file(self) -> str:
        """The row's file."""

    @property
    def line(self) -> int:
        """1-based, as in `Record.line`."""


def place(row: Located, beside: Located) -> str:
    """Say where `row` is to somebody who looks at `beside`: by its line alone where the file is the same."""
    return f"line {row.line}" if row.file == beside.file else f"{row.file}:{row.line}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row that shows what is meant."""

    file: str
    line: int
    """1-based, as in `Record.line`."""
    detail: str
    """What stands there: one line, shortened; never a whole secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One kind of fault. A refusal is a reason not to train; a warning is not."""

    code: str
    """Stable name: `no_label`, `truncated`, `secrets`, …"""
    severity: Severity
    message: str
    """One line for people, with the count."""
    count: int
    """How many rows, pairs or groups it is about."""
    samples: tuple[Sample, ...] = ()
    """The worst ones, at most `NUM_SAMPLES`."""
    lines: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By file every line it is about, ascending."""
    fix: str = ""
    """What to do about it."""


def finding(
    code: str,
    message: str,
    *,
    samples: Sequence[Sample] = (),
    rows: Iterable[Located] = (),
    fix: str = "",
    count: int | None = None,
    severity: Severity = "warning",
) -> Finding:
    """Make a finding about `rows`; `samples` come worst first and are cut to `NUM_SAMPLES`.

    Args:
        code: Its stable name.
        message: One line; `{count}` in it becomes the count.
        samples: Rows to show.
        rows: Every row it is about.
        fix: What to do.
        count: How many; by default the number of distinct rows.
        severity: Whether it forbids training.
    """
    lines: dict[str, set[int]] = {}
    for row in rows:
        lines.setdefault(row.file, set()).add(row.line)
    number = sum(map(len, lines.values())) if count is None else count
    return Finding(
        code=code,
        severity=severity,
        message=message.replace("{count}", f"{number:,}"),
        count=number,
        samples=tuple(samples[:NUM_SAMPLES]),
        lines={file: tuple(sorted(numbers)) for file, numbers in lines.items()},
        fix=fix,
    )


def shortened(text: str, characters: int = SAMPLE_CHARACTERS) -> str:
    r"""Return `text` on one line, its middle left out where it is longer than `characters`.

    Invisible and control characters are written as `\u….`, so that a terminal shows rather than obeys them.
    """
    line = " ".join(text.split())
    if len(line) > characters:
        line = f"{line[: characters * 2 // 3]} … {line[-(characters // 3 - 3) :]}"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in line)
