"""Two machines with a home each, one PostgreSQL and one S3."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.base_facts import BaseFacts
from adapters.publication import Submission, publish
from adapters.registry import Registry
from base.shapes import linear_shapes
from service.registry.opening import open_registry
from service.settings import Settings
from storage.errors import StorageUnavailableError
from tests.servers.s3 import S3Server


@pytest.fixture
def machines(postgresql_url: str, s3_url: str, tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    one, other = (
        open_registry(Settings(home=tmp_path / name, database_url=postgresql_url, storage_url=s3_url))
        for name in ("one", "other")
    )
    yield one, other
    for registry in (one, other):
        registry.database.dispose()


@pytest.fixture(scope="session")
def base(tiny_base_folder: Path) -> BaseFacts:
    return BaseFacts(name="tiny", digest="sha256:" + "b" * 64, linear_shapes=linear_shapes(tiny_base_folder))


def submit(registry: Registry, folder: Path, base: BaseFacts, name: str = "support") -> None:
    publish(registry, Submission(tenant="t", name=name, folder=folder, source="import"), base)


def test_what_one_machine_publishes_the_other_serves(
    machines: tuple[Registry, Registry], make_adapter: Callable[..., Path], base: BaseFacts, tmp_path: Path
) -> None:
    one, other = machines
    folder = make_adapter(tmp_path / "adapter", seed=1)
    submit(one, folder, base)

    version = other.resolve("t", "support")

    assert version.path.is_relative_to(tmp_path / "other")
    name = "adapter_model.safetensors"
    assert (version.path / name).read_bytes() == (folder / name).read_bytes()
    assert one.check_integrity() == other.check_integrity() == []

    other.delete("t", "support")

    assert one.adapters("t") == []
    assert one.folders.keys() == []


def test_without_the_store_cached_versions_resolve_and_nothing_is_published(
    machines: tuple[Registry, Registry],
    make_adapter: Callable[..., Path],
    base: BaseFacts,
    tmp_path: Path,
    s3: S3Server,
) -> None:
    one, other = machines
    submit(one, make_adapter(tmp_path / "1", seed=1), base, "first")
    second = make_adapter(tmp_path / "2", seed=2)

    s3.proxy.cut()

    assert one.resolve("t", "first").manifest.base.name == "tiny"
    with pytest.raises(StorageUnavailableError):
        other.resolve("t", "first")
    with pytest.raises(StorageUnavailableError):
        submit(one, second, base, "second")
    assert [adapter.name for adapter in one.adapters("t")] == ["first"]

    s3.proxy.restore()

    submit(one, second, base, "second")
    assert other.resolve("t", "second").path.is_dir()
    assert other.check_integrity() == []
