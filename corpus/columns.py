"""What the columns of a file mean.

Names are compared without case. The first layout of `LAYOUTS` whose required columns are all there is taken:

1. preference: `chosen`, `rejected`, optionally `prompt` (`instruction`, `question`, `input`, `messages`), `tools`
2. messages: `messages` (or `conversations`, `conversation`), optionally `tools`
3. instruction/output: `instruction`, `output` (or `response`, `completion`, `answer`), optionally `input` (`context`)
4. prompt/completion: `prompt` (or `input`), `completion` (or `response`, `output`)
5. question/answer: `question`, `answer` (or `response`)
6. text+label: `text`, `label` (or `category`, `intent`)
7. text: `text`

Every layout but the last also takes `system` (or `system_prompt`). Other columns are left alone.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from corpus.errors import MappingConflictError, MissingColumnError, UnknownLayoutError

LayoutName = Literal[
    "preference", "messages", "instruction/output", "prompt/completion", "question/answer", "text+label", "text"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMapping:
    """Columns named by the user; what is None is found by name."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    """A run's specification may name no other part."""

    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    label: str | None = None
    messages: str | None = None
    system: str | None = None


BY_NAME = ColumnMapping()
"""No column named: all are found by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which column plays which part; None where the layout or the file has none."""

    name: LayoutName
    messages: str | None = None
    tools: str | None = None
    system: str | None = None
    prompt: str | None = None
    input: str | None = None
    completion: str | None = None
    text: str | None = None
    label: str | None = None
    rejected: str | None = None
    """Beside `completion`, which holds the chosen answer."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    name: LayoutName
    required: Mapping[str, tuple[str, ...]]
    optional: Mapping[str, tuple[str, ...]]


_SYSTEM = {"system": ("system", "system_prompt")}
LAYOUTS: tuple[_Pattern, ...] = (
    _Pattern(
        "preference",
        {"completion": ("chosen",), "rejected": ("rejected",)},
        {"prompt": ("prompt", "instruction", "question", "input", "messages"), "tools": ("tools",), **_SYSTEM},
    ),
    _Pattern("messages", {"messages": ("messages", "conversations", "conversation")}, {"tools": ("tools",), **_SYSTEM}),
    _Pattern(
        "instruction/output",
        {"prompt": ("instruction",), "completion": ("output", "response", "completion", "answer")},
        {"input": ("input", "context"), **_SYSTEM},
    ),
    _Pattern(
        "prompt/completion",
        {"prompt": ("prompt", "input"), "completion": ("completion", "response", "output")},
        _SYSTEM,
    ),
    _Pattern("question/answer", {"prompt": ("question",), "completion": ("answer", "response")}, _SYSTEM),
    _Pattern("text+label", {"text": ("text",), "label": ("label", "category", "intent")}, _SYSTEM),
    _Pattern("text", {"text": ("text",)}, {}),
)
"""In order of precedence."""
_ANY_PROMPT = ("prompt", "instruction", "question", "input", "text")
_ANY_COMPLETION = ("completion", "output", "response", "answer", "label")


def detect(columns: Sequence[str], mapping: ColumnMapping = BY_NAME) -> Layout:
    """Decide what the columns of a file mean.

    Args:
        columns: The column names found, in file order.
        mapping: Columns the user named.

    Raises:
        MissingColumnError: A mapped column is not among them.
        MappingConflictError: The mapping asks for two layouts at once.
        UnknownLayoutError: No layout fits.
    """
    named = {part: _existing(part, name, columns) for part, name in asdict(mapping).items() if name is not None}
    free = [column for column in columns if column not in named.values()]  # one column plays one part
    for pattern in _patterns(named):
        found = {part: named.get(part) or _find(free, names) for part, names in pattern.required.items()}
        if all(found.values()):
            extra = {part: named.get(part) or _find(free, names) for part, names in pattern.optional.items()}
            return Layout(name=pattern.name, **found, **extra)
    raise UnknownLayoutError(_unknown_layout(columns, named))


def _patterns(named: dict[str, str]) -> Iterable[_Pattern]:
    """Choose the layouts a mapping allows: its own columns pick the layout, the rest of it is found by name."""
    asked = [
        parts for parts in (("messages",), ("prompt", "completion"), ("text", "label")) if named.keys() & set(parts)
    ]
    if len(asked) > 1:
        names = ", ".join(f"{part}={named[part]!r}" for parts in asked for part in parts if part in named)
        raise MappingConflictError(
            f"{names} belong to different layouts; map prompt and completion, or text and label."
        )
    if asked and asked[0] == ("prompt", "completion"):
        required = {"prompt": _ANY_PROMPT, "completion": _ANY_COMPLETION}
        return (_Pattern("prompt/completion", required, _SYSTEM),)
    return [pattern for pattern in LAYOUTS if named.keys() <= pattern.required.keys() | pattern.optional.keys()]


def _find(columns: Sequence[str], names: Iterable[str]) -> str | None:
    by_name = {column.strip().casefold(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _existing(part: str, name: str, columns: Sequence[str]) -> str:
    found = name if name in columns else _find(columns, [name.strip().casefold()])
    if found is not None:
        return found
    nearest = difflib.get_close_matches(name, columns, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise MissingColumnError(f"There is no column {name!r} for the {part}.{hint} Columns found: {_quoted(columns)}.")


def _unknown_layout(columns: Sequence[str], named: dict[str, str]) -> str:
    known = "; ".join(f"{pattern.name} ({_needs(pattern)})" for pattern in LAYOUTS)
    given = f" with {', '.join(f'{part}={name!r}' for part, name in named.items())} given" if named else ""
    return (
        f"No known layout fits the columns {_quoted(columns)}{given}. Known layouts: {known}. "
        "Name the columns yourself with --prompt-column and --completion-column."
    )


def _needs(pattern: _Pattern) -> str:
    return " and ".join(" or ".join(names) for names in pattern.required.values())


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns) or "(none)"
