"""Documents cut into passages that a question can be asked about."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus.dataset import load
from corpus.errors import MissingFileError, UnreadableFileError
from corpus.readers import SUFFIXES
from corpus.synthetic.errors import SeedsError

TEXT_SUFFIXES = (".txt", ".md")
PASSAGE_CHARACTERS = 1200
"""At most: two or three paragraphs, which small models still read to the end."""
MIN_CHARACTERS = 120
"""Of a passage: headings and captions alone answer nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A part of a document."""

    text: str
    file: str
    line: int
    """1-based: where it begins in a text file, the row in a file of rows."""

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


def read_passages(path: Path, name: str | None = None) -> tuple[Passage, ...]:
    """Read the passages of a document: `.txt` and `.md` as they are, other files by their rows of plain text.

    Args:
        path: The file.
        name: What its owner calls it; default its path.

    Raises:
        FileError: It cannot be read.
        SeedsError: It holds no passage, or its rows are no plain text.
    """
    name = name or str(path)
    documents = _text_file(path) if path.suffix.lower() in TEXT_SUFFIXES else _rows(path, name)
    is_rows = path.suffix.lower() in SUFFIXES
    found = tuple(
        Passage(text=text, file=name, line=first if is_rows else first + line)
        for first, document in documents
        for line, text in passages(document)
    )
    if not found:
        raise SeedsError(f"{name} holds no passage of at least {MIN_CHARACTERS} characters to ask about")
    return found


def passages(document: str) -> Iterator[tuple[int, str]]:
    """Cut a document at paragraphs, and long paragraphs at lines and sentences.

    Yields:
        (lines before it, text) of each passage of at least `MIN_CHARACTERS`.
    """
    held: list[str] = []
    held_line = line = 0
    for paragraph in document.split("\n\n"):
        for piece in _pieces(paragraph):
            if held and sum(map(len, held)) + len(piece) > PASSAGE_CHARACTERS:
                yield from _whole(held_line, held)
                held = []
            if not held:
                held_line = line
            held.append(piece)
        line += paragraph.count("\n") + 2
    yield from _whole(held_line, held)


def _whole(line: int, held: list[str]) -> Iterator[tuple[int, str]]:
    text = "\n\n".join(piece.strip("\n") for piece in held).strip()
    if len(text) >= MIN_CHARACTERS:
        yield line, text


def _pieces(paragraph: str) -> Iterator[str]:
    rest = paragraph
    while len(rest) > PASSAGE_CHARACTERS:
        window = rest[:PASSAGE_CHARACTERS]
        ends = [window.rfind(mark) + len(mark) for mark in ("\n", ". ", "? ", "! ", "\u3002") if mark in window]
        cut = max(ends, default=0) or window.rfind(" ") + 1 or PASSAGE_CHARACTERS
        yield rest[:cut]
        rest = rest[cut:]
    if rest.strip():
        yield rest


def _text_file(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; name a text file (.txt, .md) or a file of rows")
    try:
        yield 1, path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}"
        ) from error


def _rows(path: Path, name: str) -> Iterator[tuple[int, str]]:
    for record in load(path).records:
        if record.kind != "text":
            raise SeedsError(
                f"{name}:{record.line} is a prompt with an answer; questions are asked about plain text: "
                "a .txt or .md file, or rows with one column `text`"
            )
        yield record.line, record.text
