import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.files.errors import (
    EmptyUploadError,
    FileInUseError,
    FileTooLargeError,
    InvalidFileError,
    TooManyFilesError,
    UnknownFileError,
)
from service.files.files import Files
from service.files.tables import FileRow
from storage.database import Database
from storage.errors import StorageFullError, StorageUnavailableError
from storage.objects.local import LocalObjects
from tests.service.files.conftest import ROWS


def kept(objects: LocalObjects) -> list[str]:
    return list(objects.keys(""))


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_comes_back_as_it_was_sent(files: Files) -> None:
    file = files.create("acme", "train.jsonl", "fine-tune", [ROWS[:10], ROWS[10:]])
    assert (file.bytes, file.digest) == (len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert (file.status, file.status_details) == ("processed", None)
    assert files.get("acme", file.id) == file
    with files.open("acme", file.id) as stream:
        assert stream.read() == ROWS


def test_a_local_copy_has_the_files_own_suffix_and_is_made_once(files: Files, objects: LocalObjects) -> None:
    file = files.create("acme", "data/train.CSV", "fine-tune", [b"prompt,completion\na,b\n"])
    path = files.local_copy("acme", file.id)
    assert (path.suffix, path.read_bytes()) == (".csv", b"prompt,completion\na,b\n")
    objects.delete(f"files/acme/{file.id}")
    assert files.local_copy("acme", file.id) == path


def test_one_tenants_files_do_not_exist_for_another(files: Files) -> None:
    file = files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    for method in (files.get, files.open, files.local_copy, files.delete):
        with pytest.raises(UnknownFileError, match=file.id):
            method("other", file.id)
    assert files.list("other").data == []
    assert files.get("acme", file.id) == file


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_join_to_the_whole_list(files: Files, order: str) -> None:
    ids = [files.create("acme", "train.jsonl", "fine-tune", [ROWS]).id for _ in range(5)]
    found: list[str] = []
    sizes = []
    after = None
    while True:
        page = files.list("acme", after=after, limit=2, order=order)  # type: ignore[arg-type]
        found += [file.id for file in page.data]
        sizes.append(len(page.data))
        if not page.has_more:
            break
        after = found[-1]
    assert found == (ids if order == "asc" else ids[::-1])
    assert sizes == [2, 2, 1]


def test_a_list_of_another_purpose_is_empty(files: Files) -> None:
    files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    assert files.list("acme", purpose="batch").data == []


def test_too_large_a_file_is_refused_while_it_arrives(files: Files, objects: LocalObjects, tmp_path: Path) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b"x" * 100

    with pytest.raises(FileTooLargeError, match=r"big\.jsonl has more than 1,000 bytes"):
        files.create("acme", "big.jsonl", "fine-tune", endless())
    assert sent == 1100
    assert kept(objects) == []
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train.txt", r"suffix '\.txt'.*Accepted: \.jsonl, .*\.csv, .*\.parquet"),
        ("train", "no suffix"),
        ("train.json", r"one object a line and call it \.jsonl"),
        ("a\nb.jsonl", "printable"),
        ("x" * 300 + ".jsonl", "255 bytes"),
        ("", "printable"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(files: Files, name: str, message: str) -> None:
    with pytest.raises(InvalidFileError, match=message):
        files.create("acme", name, "fine-tune", [ROWS])


def test_an_empty_file_is_refused(files: Files, objects: LocalObjects) -> None:
    with pytest.raises(EmptyUploadError, match=r"train\.jsonl is empty"):
        files.create("acme", "train.jsonl", "fine-tune", [])
    assert kept(objects) == []


def test_a_file_beyond_the_tenants_share_leaves_nothing(files: Files, objects: LocalObjects) -> None:
    for _ in range(8):
        files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    with pytest.raises(TooManyFilesError, match="8 files"):
        files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    assert len(kept(objects)) == 8
    assert files.create("other", "train.jsonl", "fine-tune", [ROWS]).tenant == "other"


def test_a_deleted_file_leaves_nothing(files: Files, objects: LocalObjects, tmp_path: Path) -> None:
    file, other = (files.create("acme", "train.jsonl", "fine-tune", [ROWS]) for _ in range(2))
    files.local_copy("acme", file.id)
    files.delete("acme", file.id)
    with pytest.raises(UnknownFileError):
        files.get("acme", file.id)
    assert kept(objects) == [f"files/acme/{other.id}"]
    assert left_in(tmp_path / "cache") == []


def test_a_file_that_a_job_reads_stays(database: Database, objects: LocalObjects, tmp_path: Path) -> None:
    used: dict[tuple[str, str], str] = {}
    files = Files(
        database,
        objects,
        cache=tmp_path / "cache",
        max_bytes=1000,
        max_files=8,
        uses=lambda tenant, file_id: used.get((tenant, file_id)),
    )
    file = files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    used["acme", file.id] = "ftjob-1"
    with pytest.raises(FileInUseError, match="ftjob-1"):
        files.delete("acme", file.id)
    with files.open("acme", file.id) as stream:
        assert stream.read() == ROWS
    used.clear()
    files.delete("acme", file.id)


def test_a_full_store_keeps_no_row(files: Files, objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_key: str) -> None:
        raise StorageFullError("disk", "no space left")

    monkeypatch.setattr(objects, "write", full)
    with pytest.raises(StorageFullError):
        files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    assert files.list("acme").data == []


def test_what_a_killed_upload_left_is_swept(files: Files, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "incoming-x"
    left.mkdir(parents=True)
    (left / "file.jsonl").write_bytes(ROWS)
    files.sweep(older_than_seconds=3600)
    assert left.exists()
    files.sweep(older_than_seconds=-1)
    assert not left.exists()


def test_a_lost_answer_to_a_commit_costs_no_bytes(
    files: Files, objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner was told of an error, and finds the file all the same."""
    insert = Files._insert

    def committed(of: Files, row: FileRow) -> None:
        insert(of, row)
        raise StorageUnavailableError("the connection was lost")

    monkeypatch.setattr(Files, "_insert", committed)
    with pytest.raises(StorageUnavailableError):
        files.create("acme", "train.jsonl", "fine-tune", [ROWS])
    (file,) = files.list("acme").data
    with files.open("acme", file.id) as source:
        assert source.read() == ROWS
    files.sweep_objects(older_than_seconds=-1)
    assert objects.exists(f"files/acme/{file.id}")
