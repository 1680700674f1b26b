"""What `SharedFolders` promises beyond the contract in test_folders.py: machines, damage, the cache and outages."""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from storage.errors import DamagedFolderError, StorageUnavailableError, UnknownFolderError
from storage.objects.local import LocalObjects
from storage.objects.opening import open_objects
from storage.objects.remote import RemoteObjects
from storage.objects.store import ObjectStore
from storage.shared_folders import SharedFolders
from tests.servers.s3 import S3Server


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "file").read_bytes()).hexdigest()


def machine(objects: ObjectStore, cache: Path, max_cache_bytes: int = 1 << 30) -> SharedFolders:
    return SharedFolders(objects, cache, digest=digest, max_cache_bytes=max_cache_bytes)


def put(folders: SharedFolders, content: str) -> str:
    with folders.stage() as staged:
        (staged / "file").write_text(content)
        key = digest(staged)
        folders.seal(staged)
        folders.publish(staged, key)
    return key


class Counting(LocalObjects):
    """Counts what is opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, key: str) -> BinaryIO:
        self.opened.append(key.partition("/")[0])
        return super().open(key)


@pytest.fixture
def objects(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "objects")


def test_another_machine_sees_what_one_published(objects: Counting, tmp_path: Path) -> None:
    one, other = machine(objects, tmp_path / "1"), machine(objects, tmp_path / "2")
    key = put(one, "content")

    assert other.keys() == [key]
    assert other.exists(key)
    assert (other.path(key) / "file").read_text() == "content"
    assert other.path(key).is_relative_to(tmp_path / "2")

    other.delete(key)

    assert not one.exists(key)
    assert list(objects.keys("")) == []


def test_what_is_asked_for_together_is_downloaded_once(objects: Counting, tmp_path: Path) -> None:
    key = put(machine(objects, tmp_path / "1"), "content")
    # Two stores of one cache, as two processes have.
    stores = [machine(objects, tmp_path / "2") for _ in range(2)]
    found: list[Path] = []
    threads = [threading.Thread(target=lambda n=n: found.append(stores[n % 2].path(key))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [stores[0].place(key)] * 8
    assert objects.opened == ["folders", "bundles"]


def bundles(objects: ObjectStore) -> list[str]:
    return list(objects.keys("bundles/"))


def test_changed_bytes_never_reach_the_cache(objects: Counting, tmp_path: Path) -> None:
    key = put(machine(objects, tmp_path / "1"), "content")
    bundle = tmp_path / "objects" / bundles(objects)[0]
    changed = bytearray(bundle.read_bytes())
    changed[changed.index(b"content")] ^= 1
    bundle.write_bytes(changed)
    other = machine(objects, tmp_path / "2")

    with pytest.raises(DamagedFolderError, match="has SHA-256"):
        other.path(key)

    assert not other.place(key).exists()


def test_a_folder_under_another_folders_key_never_loads(objects: Counting, tmp_path: Path) -> None:
    one = machine(objects, tmp_path / "1")
    key, wrong = put(one, "content"), "ab" * 32
    with objects.open(f"folders/{key}") as marker, objects.write(f"folders/{wrong}") as copy:
        copy.write(marker.read())

    with pytest.raises(DamagedFolderError, match=f"folder {wrong} is damaged: its content has the digest {key}"):
        machine(objects, tmp_path / "2").path(wrong)


def test_lost_bytes_and_a_marker_of_nonsense_are_reported(objects: Counting, tmp_path: Path) -> None:
    key = put(machine(objects, tmp_path / "1"), "content")
    other = machine(objects, tmp_path / "2")
    objects.delete(bundles(objects)[0])

    with pytest.raises(DamagedFolderError, match="are gone"):
        other.path(key)

    objects.delete(f"folders/{key}")
    with objects.write(f"folders/{key}") as stream:
        stream.write(b"{}")
    with pytest.raises(DamagedFolderError, match="not as lorad writes it"):
        other.path(key)


def test_the_folder_used_least_recently_leaves_a_full_cache(objects: Counting, tmp_path: Path) -> None:
    one = machine(objects, tmp_path / "1")
    keys = [put(one, letter * 1000) for letter in "abc"]
    small = machine(objects, tmp_path / "2", max_cache_bytes=2500)
    for age, key in ((3000, keys[0]), (2000, keys[1])):
        os.utime(small.path(key), (age, age))

    small.path(keys[2])

    assert [small.place(key).exists() for key in keys] == [True, False, True]
    assert (small.path(keys[1]) / "file").read_text() == "b" * 1000


def test_a_folder_in_use_stays_in_a_full_cache(objects: Counting, tmp_path: Path) -> None:
    one = machine(objects, tmp_path / "1")
    keys = [put(one, letter * 1000) for letter in "abc"]
    small = machine(objects, tmp_path / "2", max_cache_bytes=1)

    paths = [small.path(key) for key in keys]

    assert all(path.exists() for path in paths)


def test_an_upload_that_is_not_published_goes_away(objects: Counting, tmp_path: Path) -> None:
    folders = machine(objects, tmp_path / "1")
    with folders.stage() as staged:
        (staged / "file").write_text("x")
        folders.seal(staged)
        assert len(bundles(objects)) == 1

    assert bundles(objects) == []


def test_publishing_what_is_published_leaves_one_upload(objects: Counting, tmp_path: Path) -> None:
    keys = {put(machine(objects, tmp_path / str(n)), "content") for n in range(3)}

    assert len(keys) == len(bundles(objects)) == 1


def test_sweep_removes_uploads_of_killed_publishers_only(objects: Counting, tmp_path: Path) -> None:
    folders = machine(objects, tmp_path / "1")
    key = put(folders, "content")
    kept = bundles(objects)
    for bundle in (f"bundles/{key}/1-{'0' * 32}", f"bundles/{'cd' * 32}/1-{'0' * 32}"):
        with objects.write(bundle) as stream:
            stream.write(b"x")

    assert folders.sweep(older_than_seconds=3600) == 2
    assert folders.sweep(older_than_seconds=0) == 0

    assert bundles(objects) == kept
    assert folders.keys() == [key]


@contextmanager
def outage(s3: S3Server) -> Iterator[None]:
    s3.proxy.cut()
    try:
        yield
    finally:
        s3.proxy.restore()


def test_an_outage_spares_the_cache_and_ends_without_traces(s3: S3Server, s3_url: str, tmp_path: Path) -> None:
    one, other = (machine(open_objects(s3_url), tmp_path / name) for name in "12")
    cached, remote = put(one, "cached"), put(other, "remote")

    with outage(s3):
        assert (one.path(cached) / "file").read_text() == "cached"
        with pytest.raises(StorageUnavailableError, match=r"cannot read object .* Check that the store runs"):
            one.path(remote)
        with pytest.raises(StorageUnavailableError):
            put(one, "new")

    assert one.keys() == sorted([cached, remote])
    assert (one.path(remote) / "file").read_text() == "remote"
    new = put(one, "new")
    assert (other.path(new) / "file").read_text() == "new"


def test_an_outage_between_upload_and_publication_publishes_nothing(s3: S3Server, s3_url: str, tmp_path: Path) -> None:
    folders = machine(open_objects(s3_url), tmp_path / "1")

    def publish() -> None:
        with folders.stage() as staged:
            (staged / "file").write_text("content")
            folders.seal(staged)
            with outage(s3):
                folders.publish(staged, digest(staged))

    with pytest.raises(StorageUnavailableError):
        publish()

    assert folders.keys() == []
    assert put(folders, "content") in machine(open_objects(s3_url), tmp_path / "2").keys()  # noqa: SIM118 - no mapping


def test_an_upload_cut_under_way_leaves_nothing(s3: S3Server, s3_url: str) -> None:
    objects = RemoteObjects(s3_url)

    def write() -> None:
        with objects.write("a") as stream:
            stream.write(bytes(20 << 20))
            with outage(s3):
                stream.write(bytes(20 << 20))

    with pytest.raises(StorageUnavailableError, match="cannot write object 'a'"):
        write()

    assert not objects.exists("a")
    with objects.write("a") as stream:
        stream.write(b"second")
    assert objects.size("a") == 6


def test_a_store_that_was_killed_and_lost_everything_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = S3Server()
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = server.make_bucket("bucket")
        one, other = (machine(open_objects(url), tmp_path / name) for name in "12")
        key = put(one, "content")
        server.kill()
        with pytest.raises(StorageUnavailableError):
            other.path(key)
        server.start()

        with pytest.raises(UnknownFolderError, match=key):
            other.path(key)
        with pytest.raises(StorageUnavailableError, match="Check that the store runs, that the bucket exists"):
            put(one, "new")
        assert (one.path(key) / "file").read_text() == "content"
        server.make_bucket("bucket")
        assert put(one, "new") in other.keys()  # noqa: SIM118 - no mapping
    finally:
        server.close()
