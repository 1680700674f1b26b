import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.base_facts import BaseFacts
from adapters.errors import BaseMismatchError, InvalidAdapterError, InvalidNameError
from adapters.manifest import BaseIdentity, Manifest
from adapters.publication import Submission, publish
from adapters.registry import Registry
from storage.database import Database
from storage.folders import FolderStore


def submission(folder: Path, name: str = "support", tenant: str = "t") -> Submission:
    return Submission(tenant=tenant, name=name, folder=folder, source="import")


def test_a_version_is_published_with_its_facts(registry: Registry, folder: Path, base: BaseFacts) -> None:
    Manifest(base=BaseIdentity(name="tiny", digest=base.digest), metrics={"loss": 1.0}).write(folder)

    version = publish(
        registry, replace(submission(folder), metrics={"seconds": 2.0}, lineage={"job": "j1", "parents": ["a:1"]}), base
    )

    assert (version.tenant, version.name, version.number, version.source) == ("t", "support", 1, "import")
    assert (version.base_digest, version.base_name, version.rank) == (base.digest, "tiny", 4)
    assert version.metrics == {"loss": 1.0, "seconds": 2.0}
    assert version.lineage == {"job": "j1", "parents": ["a:1"]}
    assert version.digest == f"sha256:{version.path.name}"
    assert version.size_bytes == sum(path.stat().st_size for path in version.path.iterdir())
    assert version.created_at.utcoffset() is not None
    assert str(version.reference) == "support:1"
    assert registry.resolve("t", "support") == version
    assert registry.check_integrity() == []


def test_only_the_three_files_are_kept(registry: Registry, folder: Path, base: BaseFacts) -> None:
    (folder / "optimizer.pt").write_text("secret")

    version = publish(registry, submission(folder), base)

    names = ["adapter_config.json", "adapter_model.safetensors", "lorad.json"]
    assert sorted(path.name for path in version.path.iterdir()) == names
    assert version.manifest.base.digest == "assumed"
    assert not (folder / "lorad.json").exists()


def test_the_same_content_under_the_same_name_is_the_same_version(
    registry: Registry, folder: Path, base: BaseFacts
) -> None:
    first = publish(registry, submission(folder), base)

    assert publish(registry, submission(folder), base) == first
    other = publish(registry, submission(folder, name="other"), base)

    assert (other.number, other.path) == (1, first.path)
    assert [version.number for version in registry.versions("t", "support")] == [1]


def test_other_content_is_the_next_version(registry: Registry, variant: Callable[[int], Path], base: BaseFacts) -> None:
    numbers = [publish(registry, submission(variant(seed)), base).number for seed in range(3)]

    assert numbers == [1, 2, 3]
    assert registry.resolve("t", "support").number == 3


def test_a_refused_adapter_leaves_nothing(registry: Registry, folder: Path, base: BaseFacts) -> None:
    Manifest(base=BaseIdentity(name="other", digest="sha256:" + "c" * 64)).write(folder)
    with pytest.raises(BaseMismatchError):
        publish(registry, submission(folder), base)

    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidAdapterError):
        publish(registry, submission(folder), base)
    with pytest.raises(InvalidNameError):
        publish(registry, submission(folder, name="../x"), base)

    assert registry.adapters("t") == []
    assert registry.folders.keys() == []
    assert list((registry.folders._root / ".staging").iterdir()) == []


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "lorad.json"])
def test_links_are_not_followed_out_of_the_folder(
    registry: Registry, folder: Path, base: BaseFacts, tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret").write_text("{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")

    with pytest.raises(InvalidAdapterError, match=f"{name} cannot be read as a plain file"):
        publish(registry, submission(folder), base)


def test_a_full_disk_fails_the_publication_and_the_old_version_still_serves(
    registry: Registry, variant: Callable[[int], Path], base: BaseFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(registry, submission(variant(0)), base)

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            publish(registry, submission(variant(1)), base)

    assert registry.resolve("t", "support") == first
    assert registry.check_integrity() == []


def publish_and_die(home: Path, folder: Path, base: BaseFacts, at: int) -> int:
    """Publish in a forked process that kills itself before its at-th fsync or rename; its exit status."""
    child = os.fork()
    if child == 0:
        step = 0
        real = {name: getattr(os, name) for name in ("fsync", "rename")}

        def counted(name: str) -> Callable[..., None]:
            def call(*arguments: object) -> None:
                nonlocal step
                step += 1
                if step == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                real[name](*arguments)

            return call

        for name in real:
            setattr(os, name, counted(name))
        code = 1
        try:
            publish(open_registry(home), submission(folder), base)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def open_registry(home: Path) -> Registry:
    database = Database(f"sqlite:///{home}/lorad.db")
    database.migrate()
    return Registry(database, FolderStore(home / "folders"))


def test_a_publisher_killed_at_any_step_leaves_no_version_or_a_whole_one(
    variant: Callable[[int], Path], base: BaseFacts, tmp_path: Path
) -> None:
    registry = open_registry(tmp_path)
    publish(registry, submission(variant(0)), base)
    folder = variant(1)
    for at in range(1, 40):
        code = publish_and_die(tmp_path, folder, base, at)
        # A complete folder without a row is allowed; a row without its folder never is.
        assert not [fault for fault in registry.check_integrity() if "missing" in fault]
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert registry.resolve("t", "support").number == 1

    assert at > 8
    assert registry.resolve("t", "support").number == 2
    assert registry.check_integrity() == []
    registry.database.dispose()
