import json
from pathlib import Path

import pytest

from corpus.errors import FileError
from corpus.synthetic.documents import PASSAGE_CHARACTERS, passages, read_passages
from corpus.synthetic.errors import SeedsError

PARAGRAPH = "The pool opens at seven on weekdays and at nine on Sundays. " * 4


def test_a_passage_says_on_which_line_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "pool.md"
    path.write_text(f"# Pool\n\n{PARAGRAPH}\n\n" * 7)

    found = read_passages(path, "pool.md")

    lines = path.read_text().splitlines()
    assert len(found) > 1
    for passage in found:
        assert passage.text.splitlines()[0].strip() == lines[passage.line - 1].strip()
        assert len(passage.text) <= PASSAGE_CHARACTERS + 2 * 14


def test_no_word_of_a_document_is_lost_or_doubled() -> None:
    document = "\n\n".join([PARAGRAPH * 8, PARAGRAPH, "word " * 700])

    assert " ".join(text for _, text in passages(document)).split() == document.split()


def test_a_document_without_passages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("Too short.")

    with pytest.raises(SeedsError, match=r"empty\.txt holds no passage"):
        read_passages(path)


def test_rows_of_plain_text_are_documents(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": PARAGRAPH}) + "\n" for _ in range(2)))

    assert [passage.place for passage in read_passages(path, "docs.jsonl")] == ["docs.jsonl:1", "docs.jsonl:2"]


def test_rows_with_answers_are_no_documents(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b"}))

    with pytest.raises(SeedsError, match=r"rows\.jsonl:1 is a prompt with an answer"):
        read_passages(path)


def test_a_missing_or_unreadable_document_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 " * 50)

    with pytest.raises(FileError, match="not UTF-8: byte 0xe9 at 3"):
        read_passages(path)
    with pytest.raises(FileError, match="does not exist"):
        read_passages(tmp_path / "none.md")
