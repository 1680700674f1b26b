"""Seed rows as the recipes see them: what all prompts share is set aside, the rest is what is written anew."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from corpus.messages import Message, content_text
from corpus.records import Record
from corpus.synthetic.errors import SeedsError

MIN_FRAMED = 3
"""Fewer prompts share a beginning by chance."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What every last user message begins and ends with: an instruction before, a schema or rules after."""

    before: str = ""
    after: str = ""

    def core(self, text: str) -> str:
        """Return what stands inside the frame; a text that has no such frame is all core."""
        if len(text) < len(self.before) + len(self.after):
            return text
        if not (text.startswith(self.before) and text.endswith(self.after)):
            return text
        return text[len(self.before) : len(text) - len(self.after)]

    def around(self, core: str) -> str:
        """Return `core` inside the frame."""
        return f"{self.before}{core}{self.after}"


@dataclass(frozen=True, slots=True)
class Seed:
    """One seed row."""

    record: Record
    core: str
    """Of the last user message."""

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.record.file}:{self.record.line}"


@dataclass(frozen=True, slots=True)
class SeedSet:
    """All seeds; at least one."""

    seeds: tuple[Seed, ...]
    frame: Frame

    @property
    def labels(self) -> frozenset[str]:
        """The classes, where every seed has one; otherwise none."""
        found = frozenset(seed.record.label for seed in self.seeds)
        return frozenset() if None in found else frozenset(label for label in found if label is not None)

    def messages(self, like: Seed, core: str) -> tuple[Message, ...]:
        """Return the prompt messages of `like` with another core in the last one."""
        *before, last = like.record.prompt_messages
        return (*before, {**last, "content": self.frame.around(core)})

    def text_of(self, record: Record) -> str:
        """Return what two records are compared by: the last turn without the frame.

        The turns before it, a system prompt first of all, are those of a seed, and would make all its rows alike.
        """
        return self.frame.core(last_text(record))


def seeds_of(records: Sequence[Record]) -> SeedSet:
    """Take records as seeds.

    Raises:
        SeedsError: There is none, or one is no conversation that ends with a user's turn and its answer.
    """
    if not records:
        raise SeedsError("there is no seed row; give a file with at least one")
    for record in records:
        _check(record)
    frame = frame_of([content_text(record.prompt_messages[-1]) for record in records])
    return SeedSet(
        tuple(Seed(record, frame.core(content_text(record.prompt_messages[-1]))) for record in records), frame
    )


def last_text(record: Record) -> str:
    """Return the text of the turn that a record answers."""
    return content_text(record.prompt_messages[-1]) if record.prompt_messages else record.prompt


def renamed(record: Record, file: str) -> Record:
    """Return the record with another name for its file."""
    return replace(record, file=file)


def _check(record: Record) -> None:
    where = f"{record.file}:{record.line}"
    if record.kind == "text":
        raise SeedsError(f"{where} is plain text, which has no prompt to write anew; use --recipe questions")
    if record.rejected is not None:
        raise SeedsError(f"{where} is a preference pair; generate rows with one answer, and let a judge rank more")
    last = record.prompt_messages[-1] if record.prompt_messages else None
    if last is None or last["role"] != "user" or not content_text(last).strip():
        raise SeedsError(f"{where} has no user's turn before its answer; leave this row out of the seeds")
    if not record.completion.strip():
        raise SeedsError(f"{where} answers with tool calls only, which no recipe writes; leave this row out")


def frame_of(texts: Sequence[str]) -> Frame:
    """Return what all these texts begin and end with; an empty one where they share no line or heading."""
    if len(set(texts)) < MIN_FRAMED:
        return Frame()
    before = _shared_beginning(texts)
    # Behind a heading or a line, never inside a sentence that happens to begin alike.
    cut = max(before.rfind("\n") + 1, before.rfind(": ") + 2 if ": " in before else 0)
    before = before[:cut]
    rests = [text[cut:][::-1] for text in texts]
    after = _shared_beginning(rests)[::-1]
    after = after[after.find("\n") :] if "\n" in after else ""
    if any(not text[cut : len(text) - len(after)].strip() for text in texts):
        return Frame()
    return Frame(before, after)


def _shared_beginning(texts: Sequence[str]) -> str:
    # What the first and the last in alphabetical order share, all between them share.
    first, last = min(texts), max(texts)
    length = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    return first[:length] if length is not None else min(first, last, key=len)
