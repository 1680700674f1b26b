"""Records to token rows, with what was cut off and what had to be refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from base.errors import RenderingError
from base.rendering import Example, Renderer, document
from corpus.records import Record
from training.errors import NoTrainingRowsError
from training.rows.order import lengths_of
from training.rows.parts import Part, parts_of

_MAX_PLACES = 16
"""How many rows a message names."""


@dataclass(frozen=True)
class RefusedRow:
    """A record that cannot be trained on, and why."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a token row comes from."""

    file: str
    line: int
    weight: float = 1.0
    """How often an epoch draws it."""


@dataclass(frozen=True)
class Prepared:
    """The rows of a dataset as tokens."""

    examples: tuple[Example, ...]
    num_truncated: int
    """Rows that were longer than the maximum; their ends were cut off."""
    refused: tuple[RefusedRow, ...]
    rejected: tuple[Example, ...] = ()
    """Of preference pairs: the worse answer to each of `examples`."""
    origins: tuple[Origin, ...] = ()
    """Of each of `examples`, file after file; empty where they come from no file."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What an epoch draws from."""
        return parts_of(self.origins) if self.origins else (Part(len(self.examples)),)

    def places(self, rows: Iterable[int]) -> str:
        """Where some rows stand, as `file:line`, for messages; their numbers from 1 where they come from no file."""
        numbers = sorted(set(rows))
        if self.origins:
            origins = (self.origins[row] for row in numbers)
            names = list(dict.fromkeys(f"{origin.file}:{origin.line}" for origin in origins))
        else:
            names = [str(row + 1) for row in numbers]
        more = f" and {len(names) - _MAX_PLACES} more" if len(names) > _MAX_PLACES else ""
        return ", ".join(names[:_MAX_PLACES]) + more

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each row; a pair counts with both its answers."""
        return lengths_of(self.examples, self.rejected)

    @property
    def num_tokens(self) -> int:
        """All tokens of all rows."""
        return sum(self.lengths)

    @property
    def num_labelled(self) -> int:
        """The tokens that count in the loss."""
        return sum(example.num_labelled for example in (*self.examples, *self.rejected))


@dataclass(frozen=True)
class Encoder:
    """Turns records into token rows for one base and template."""

    tokenizer: PreTrainedTokenizerBase
    renderer: Renderer

    def __call__(self, record: Record) -> Example:
        """The whole row, not truncated.

        Raises:
            RenderingError: the template cannot express the conversation.
        """
        if record.kind == "text":
            return document(self.tokenizer, record.text)
        return self.renderer.conversation(record.messages, record.tools)


def prepare(records: Sequence[Record], encoder: Encoder, max_length: int) -> Prepared:
    """Encodes `records`, cutting chats at `max_length` tokens and raw text into windows of that length.

    A row whose template fails, or in which no labelled token is left, is refused.
    """
    examples: list[Example] = []
    origins: list[Origin] = []
    refused: list[RefusedRow] = []
    num_truncated = 0
    for record in records:
        try:
            whole = encoder(record)
        except RenderingError as error:
            refused.append(RefusedRow(record.file, record.line, str(error)))
            continue
        pieces = _windows(whole, max_length) if record.kind == "text" else [whole.truncated(max_length)]
        usable = [piece for piece in pieces if piece.num_labelled]
        if not usable:
            refused.append(RefusedRow(record.file, record.line, _unlabelled_reason(whole, max_length)))
            continue
        num_truncated += record.kind == "chat" and len(whole.input_ids) > max_length
        examples.extend(usable)
        origins.extend([Origin(record.file, record.line, record.weight)] * len(usable))
    return Prepared(tuple(examples), num_truncated, tuple(refused), origins=tuple(origins))


def refuse(prepared: Prepared, *, skip_bad: bool) -> None:
    """Raises what a run must not begin with.

    Raises:
        NoTrainingRowsError: rows were refused and `skip_bad` does not drop them, or none is left.
    """
    if prepared.examples and (skip_bad or not prepared.refused):
        return
    lines = "\n".join(f"  {row.file}:{row.line}: {row.reason}" for row in prepared.refused[:20])
    what = "no usable rows" if not prepared.examples else f"{len(prepared.refused)} rows cannot be trained on"
    fix = "" if not prepared.examples else "\ndrop them with --skip-bad"
    raise NoTrainingRowsError(f"{what}:\n{lines}{fix}")


def _windows(example: Example, max_length: int) -> list[Example]:
    starts = range(0, len(example.input_ids), max_length)
    return [Example(example.input_ids[at : at + max_length], example.labelled[at : at + max_length]) for at in starts]


def _unlabelled_reason(whole: Example, max_length: int) -> str:
    if not whole.num_labelled:
        return "no token is labelled: the row has no completion to learn"
    first = whole.labelled.index(True)
    return (
        f"no labelled token is left after truncation to {max_length} tokens: the prompt alone takes {first}; "
        "raise --max-length or shorten the prompt"
    )
