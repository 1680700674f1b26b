"""What every object store promises, on each of them."""

import io
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidObjectKeyError, ObjectExistsError, UnknownObjectError
from storage.objects.opening import open_objects
from storage.objects.store import ObjectStore, check_key

LARGE = bytes(range(256)) * (80 << 10)
"""20 MiB: three parts of an upload."""


@pytest.fixture(params=["local", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return open_objects(tmp_path / "store")
    return open_objects(request.getfixturevalue("s3_url"))


def put(objects: ObjectStore, key: str, content: bytes) -> None:
    with objects.write(key) as stream:
        stream.write(content)


def read(objects: ObjectStore, key: str) -> bytes:
    with objects.open(key) as stream:
        return stream.read()


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "small", "large"])
def test_what_was_written_is_read(objects: ObjectStore, content: bytes) -> None:
    put(objects, "files/acme/file-1.jsonl", content)

    assert read(objects, "files/acme/file-1.jsonl") == content
    assert objects.size("files/acme/file-1.jsonl") == len(content)
    assert objects.exists("files/acme/file-1.jsonl")
    assert list(objects.keys("")) == ["files/acme/file-1.jsonl"]


def test_nothing_is_visible_before_the_block_ends(objects: ObjectStore) -> None:
    with objects.write("a/b") as stream:
        stream.write(LARGE)
        assert not objects.exists("a/b")
        assert list(objects.keys("")) == []

    assert read(objects, "a/b") == LARGE


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "small", "large"])
def test_a_block_that_raises_leaves_nothing(objects: ObjectStore, content: bytes) -> None:
    def fail() -> None:
        with objects.write("a/b") as stream:
            stream.write(content)
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()

    assert not objects.exists("a/b")
    assert list(objects.keys("")) == []
    put(objects, "a/b", b"second")
    assert read(objects, "a/b") == b"second"


def test_an_object_is_not_replaced(objects: ObjectStore) -> None:
    put(objects, "a", b"first")

    with pytest.raises(ObjectExistsError, match="object a exists"):
        put(objects, "a", b"second")

    assert read(objects, "a") == b"first"


@pytest.mark.parametrize("content", [b"second", LARGE], ids=["small", "large"])
def test_of_two_writers_of_a_key_the_slower_is_refused(objects: ObjectStore, content: bytes) -> None:
    def slower() -> None:
        with objects.write("a") as stream:
            put(objects, "a", b"first")
            stream.write(content)

    with pytest.raises(ObjectExistsError, match="object a exists"):
        slower()

    assert read(objects, "a") == b"first"
    assert list(objects.keys("")) == ["a"]


def test_a_stream_can_be_read_anywhere(objects: ObjectStore) -> None:
    put(objects, "a", LARGE)

    with objects.open("a") as stream:
        stream.seek(-1000, io.SEEK_END)
        assert stream.read() == LARGE[-1000:]
        stream.seek(12345)
        assert stream.read(10) == LARGE[12345:12355]
        assert stream.tell() == 12355


def test_lines_can_be_read(objects: ObjectStore) -> None:
    put(objects, "a", b"one\ntwo\n")

    with objects.open("a") as stream:
        assert list(stream) == [b"one\n", b"two\n"]


def test_what_is_not_there_is_said_by_name(objects: ObjectStore) -> None:
    put(objects, "a/b", b"x")
    for key in ("none", "a", "a/b/c"):
        assert not objects.exists(key)
        with pytest.raises(UnknownObjectError, match=f"no object {key} "):
            objects.open(key)
        with pytest.raises(UnknownObjectError, match=f"no object {key} "):
            objects.size(key)


def test_deleting_leaves_the_neighbours_and_is_no_error_twice(objects: ObjectStore) -> None:
    put(objects, "a/b", b"x")
    put(objects, "a/c", b"y")

    objects.delete("a/b")
    objects.delete("a/b")
    objects.delete("a")

    assert list(objects.keys("")) == ["a/c"]
    assert read(objects, "a/c") == b"y"


def test_keys_are_those_of_a_prefix_in_order(objects: ObjectStore) -> None:
    for key in ("b/2", "b/1/x", "b/1y", "a", "bb"):
        put(objects, key, b"x")

    assert list(objects.keys("")) == ["a", "b/1/x", "b/1y", "b/2", "bb"]
    assert list(objects.keys("b")) == ["b/1/x", "b/1y", "b/2", "bb"]
    assert list(objects.keys("b/")) == ["b/1/x", "b/1y", "b/2"]
    assert list(objects.keys("b/1")) == ["b/1/x", "b/1y"]
    assert list(objects.keys("none/")) == []


def test_threads_that_write_one_key_leave_one_whole_object(objects: ObjectStore) -> None:
    outcomes: list[str] = []

    def write(content: bytes) -> None:
        try:
            put(objects, "a", content)
            outcomes.append("written")
        except ObjectExistsError:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(bytes([n]) * 1000,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused"] * 5 + ["written"]
    content = read(objects, "a")
    assert len(content) == 1000
    assert len(set(content)) == 1


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "a/../b", "ä", "a b", "a\n", "~staging/x", "x" * 513, "x" * 256]
)
def test_what_is_no_key_is_refused_everywhere(objects: ObjectStore, key: str) -> None:
    for use in (objects.open, objects.exists, objects.size, objects.delete, lambda bad: put(objects, bad, b"")):
        with pytest.raises(InvalidObjectKeyError):
            use(key)


@pytest.mark.parametrize("prefix", ["/", "../", "a/../", "~"])
def test_what_is_no_prefix_is_refused(objects: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidObjectKeyError):
        objects.keys(prefix)


@given(st.text(max_size=30) | st.from_regex(r"[a./~]{1,12}", fullmatch=True))
def test_a_key_never_leaves_its_folder(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    root = tmp_path_factory.getbasetemp() / "keys" / "root"
    try:
        check_key(key)
    except InvalidObjectKeyError:
        return
    assert (root / key).resolve().is_relative_to(root)
    assert (root / key).resolve() != root
