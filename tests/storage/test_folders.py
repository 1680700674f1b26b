import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidKeyError, StagedFolderError, UnknownFolderError
from storage.folders import FolderStore
from storage.objects.opening import open_objects
from storage.shared_folders import SharedFolders

KEY = "ab" + "0" * 62
OTHER = "cd" + "1" * 62


@pytest.fixture(params=["local", "shared"])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> FolderStore:
    if request.param == "local":
        return FolderStore(tmp_path / "store")
    objects = open_objects(request.getfixturevalue("s3_url"))
    return SharedFolders(objects, tmp_path / "store", digest=lambda _folder: KEY, max_cache_bytes=1 << 30)


def put(folders: FolderStore, key: str, content: str = "content") -> Path:
    with folders.stage() as staged:
        (staged / "file").write_text(content)
        (staged / "nested").mkdir()
        (staged / "nested" / "file").write_text(content)
        return folders.publish(staged, key)


def leftovers(folders: FolderStore) -> list[str]:
    return [entry.name for name in (".staging", ".trash") for entry in (folders._root / name).iterdir()]


def test_a_published_folder_is_found_under_its_key(folders: FolderStore) -> None:
    path = put(folders, KEY)

    assert path == folders.path(KEY) == folders.place(KEY)
    assert path.relative_to(folders._root) == Path("ab") / KEY
    assert (path / "nested" / "file").read_text() == "content"
    assert folders.exists(KEY)
    assert folders.keys() == [KEY]
    assert leftovers(folders) == []


def test_a_key_that_exists_keeps_its_folder(folders: FolderStore) -> None:
    put(folders, KEY, "first")

    path = put(folders, KEY, "second")

    assert (path / "file").read_text() == "first"
    assert leftovers(folders) == []


def test_a_staged_folder_that_is_not_published_goes_away(folders: FolderStore) -> None:
    with folders.stage() as staged:
        (staged / "file").write_text("x")

    assert not staged.exists()
    assert leftovers(folders) == folders.keys() == []


def test_losing_a_race_for_a_key_keeps_the_winner(folders: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folders, KEY, "winner")
    monkeypatch.setattr(Path, "exists", lambda _path: False)

    path = put(folders, KEY, "loser")

    assert (path / "file").read_text() == "winner"


def test_threads_publishing_one_key_all_succeed(folders: FolderStore) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(put(folders, KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [folders.path(KEY)] * 8
    assert leftovers(folders) == []


def test_a_failing_rename_is_not_hidden(folders: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", no_space)

    with pytest.raises(OSError, match="No space left"):
        put(folders, KEY)

    assert folders.keys() == []


def test_deleting_leaves_the_neighbours_and_is_no_error_twice(folders: FolderStore) -> None:
    put(folders, KEY)
    put(folders, OTHER)

    folders.delete(KEY)
    folders.delete(KEY)

    assert folders.keys() == [OTHER]
    assert (folders.path(OTHER) / "file").read_text() == "content"
    assert leftovers(folders) == []
    with pytest.raises(UnknownFolderError, match=KEY):
        folders.path(KEY)


def test_a_discarded_folder_is_invisible_before_its_bytes_go(folders: FolderStore) -> None:
    put(folders, KEY)

    folders.discard(KEY)

    assert not folders.exists(KEY)
    assert len(leftovers(folders)) == 1
    assert folders.empty_trash() == 1
    assert leftovers(folders) == []


def test_sweep_removes_old_leftovers_only(folders: FolderStore) -> None:
    put(folders, KEY)
    old, new = folders._root / ".staging" / "old", folders._root / ".staging" / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "file").write_text("x")
    os.utime(old / "file", (0, 0))
    os.utime(old, (0, 0))
    # A folder whose own time is old, but one of whose files still grows, is in use.
    os.utime(new, (0, 0))

    assert folders.sweep(older_than_seconds=3600) == 1

    assert leftovers(folders) == ["new"]
    assert folders.keys() == [KEY]


@given(st.text() | st.from_regex(r"[0-9a-fA-F/.]{60,66}", fullmatch=True) | st.just(KEY + "\n") | st.just("../" + KEY))
def test_only_digests_are_keys(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    folders = FolderStore(tmp_path_factory.getbasetemp() / "keys")
    if len(key) == 64 and set(key) <= set("0123456789abcdef"):
        assert not folders.exists(key)
        return
    for use in (folders.path, folders.place, folders.exists, folders.delete):
        with pytest.raises(InvalidKeyError):
            use(key)


def test_a_link_is_not_published(folders: FolderStore, tmp_path: Path) -> None:
    with folders.stage() as staged:
        (staged / "link").symlink_to(tmp_path)
        with pytest.raises(StagedFolderError, match="neither a plain file nor a folder"):
            folders.publish(staged, KEY)

    assert folders.keys() == []


def test_an_empty_folder_is_not_published(folders: FolderStore) -> None:
    with folders.stage() as staged, pytest.raises(StagedFolderError, match="empty"):
        folders.publish(staged, KEY)


def test_a_folder_from_elsewhere_is_not_published(folders: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(StagedFolderError, match="not a folder staged by this store"):
        folders.publish(tmp_path, KEY)


# Kills itself at the n-th step that touches the disk's state, before or after doing it.
CHILD = """
import os, signal, sys
from pathlib import Path
from storage.folders import FolderStore

root, action, when, at = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
KEY = "ab" + "0" * 62
step = 0

def counted(real):
    def call(*args, **kwargs):
        global step
        step += 1
        if step == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

folders = FolderStore(root)
if action == "delete":
    for name in ("fsync", "rename", "replace", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))
    folders.delete(KEY)
else:
    for name in ("fsync", "rename", "replace", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    with folders.stage() as staged:
        for name in ("a", "b"):
            (staged / name).write_text(name * 1000)
        folders.publish(staged, KEY)
"""


def run_until_survived(tmp_path: Path, action: str, when: str) -> int:
    """Kill a child at step 1, 2, … and look at what it left; returns the number of steps it has."""
    for at in range(1, 40):
        root = tmp_path / f"{at}"
        folders = FolderStore(root)
        if action == "delete":
            with folders.stage() as staged:
                for name in ("a", "b"):
                    (staged / name).write_text(name * 1000)
                folders.publish(staged, KEY)
        command = [sys.executable, "-c", CHILD, str(root), action, when, str(at)]
        code = subprocess.run(command, check=False).returncode
        check_whole_or_nothing(folders)
        if code == 0:
            assert folders.exists(KEY) is (action == "publish")
            return at - 1
        assert code == -9
    raise AssertionError("the child never came to its end")


def check_whole_or_nothing(folders: FolderStore) -> None:
    if folders.exists(KEY):
        content = {path.name: path.read_text() for path in folders.path(KEY).iterdir()}
        assert content == {"a": "a" * 1000, "b": "b" * 1000}
    else:
        assert folders.keys() == []
    visible = folders.keys()
    folders.sweep(older_than_seconds=0)
    assert leftovers(folders) == []
    assert folders.keys() == visible


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_publisher_killed_at_any_step_leaves_nothing_or_all(tmp_path: Path, when: str) -> None:
    # mkdir of the staged folder and the shelf, fsync of two files, the folder, shelf and root, and the rename
    assert run_until_survived(tmp_path, "publish", when) >= 8


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_deleter_killed_at_any_step_leaves_nothing_or_all(tmp_path: Path, when: str) -> None:
    assert run_until_survived(tmp_path, "delete", when) >= 5
