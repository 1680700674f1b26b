import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from adapters.base_facts import BaseFacts
from adapters.errors import (
    AliasInUseError,
    InvalidNameError,
    NoEarlierVersionError,
    UnknownAdapterError,
    UnknownAliasError,
    UnknownVersionError,
)
from adapters.publication import Submission, publish
from adapters.registry import Registry
from adapters.tables import VersionRow
from adapters.version import Change, Version

Add = Callable[..., Version]


@pytest.fixture
def add(registry: Registry, variant: Callable[[int], Path], base: BaseFacts) -> Add:
    """Publishes the adapter of a seed under a name."""

    def publish_variant(seed: int, name: str = "support", tenant: str = "t") -> Version:
        submission = Submission(tenant=tenant, name=name, folder=variant(seed), source="import")
        return publish(registry, submission, base)

    return publish_variant


def numbers(registry: Registry, name: str = "support", tenant: str = "t") -> list[int | None]:
    return [version.number for version in registry.versions(tenant, name)]


def test_a_bare_name_means_the_newest_ready_version(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    with registry.database.session() as session:
        session.execute(update(VersionRow).where(VersionRow.number == 2).values(state="withdrawn"))

    assert registry.resolve("t", "support").number == 1
    assert registry.adapters("t")[0].latest.number == 1
    with registry.database.session() as session:
        session.execute(update(VersionRow).values(state="withdrawn"))
    with pytest.raises(UnknownVersionError, match="ready"):
        registry.resolve("t", "support")
    assert registry.adapters("t") == []


def test_each_reference_finds_its_version(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    registry.set_alias("t", "support:1", "production")

    assert registry.resolve("t", "support:1").number == 1
    assert registry.resolve("t", "support@production").number == 1
    assert registry.resolve("t", "support").number == 2


def test_what_is_unknown_is_refused_with_what_is_near(registry: Registry, add: Add) -> None:
    add(0)
    add(0, name="sapport", tenant="other")
    registry.set_alias("t", "support", "production")

    with pytest.raises(UnknownAdapterError, match="did you mean 'support'") as caught:
        registry.resolve("t", "suport")
    assert caught.value.nearest == ("support",)
    with pytest.raises(UnknownAliasError, match="did you mean 'production'"):
        registry.resolve("t", "support@prodution")
    with pytest.raises(UnknownVersionError, match="no version 7; the newest are 1"):
        registry.resolve("t", "support:7")
    with pytest.raises(UnknownVersionError, match="checkpoint 5"):
        registry.resolve("t", "support:ckpt-step-5")
    with pytest.raises(InvalidNameError):
        registry.resolve("t", "../support")


def test_tenants_see_nothing_of_each_other(registry: Registry, add: Add) -> None:
    add(0, tenant="a")
    mine = add(0, tenant="b")

    registry.delete("a", "support")

    assert registry.adapters("a") == []
    assert [adapter.latest for adapter in registry.adapters("b")] == [mine]
    assert mine.path.is_dir()
    for use in (registry.resolve, registry.versions, registry.delete):
        with pytest.raises(UnknownAdapterError) as caught:
            use("a", "support")
        assert caught.value.nearest == ()


def test_adapters_are_listed_with_their_aliases(registry: Registry, add: Add) -> None:
    add(0, name="b")
    add(0, name="a")
    add(1, name="a")
    registry.set_alias("t", "a:1", "production")
    registry.set_alias("t", "a:2", "canary")

    first, second = registry.adapters("t")

    assert (first.name, first.num_versions, first.latest.number) == ("a", 2, 2)
    assert [version.number for version in first.versions] == [2, 1]
    assert first.aliases == {"canary": 2, "production": 1}
    assert first.latest.aliases == ("canary",)
    assert (second.name, second.aliases) == ("b", {})
    assert [version.aliases for version in registry.versions("t", "a")] == [("canary",), ("production",)]


def test_rolling_back_goes_further_back_each_time(registry: Registry, add: Add) -> None:
    for seed in range(3):
        add(seed)
        registry.set_alias("t", "support", "production")

    assert registry.rollback("t", "support", "production").number == 2
    assert registry.rollback("t", "support", "production").number == 1
    with pytest.raises(NoEarlierVersionError, match="points to version 1"):
        registry.rollback("t", "support", "production")
    registry.set_alias("t", "support:3", "production")
    assert registry.rollback("t", "support", "production").number == 1


def test_rolling_back_passes_over_deleted_versions(registry: Registry, add: Add) -> None:
    for seed in range(3):
        add(seed)
        registry.set_alias("t", "support", "production")
    registry.delete("t", "support", 2)

    assert registry.rollback("t", "support", "production").number == 1
    assert registry.resolve("t", "support@production").aliases == ("production",)


def test_an_aliass_history_tells_who_moved_it_and_why(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    registry.set_alias("t", "support:1", "production", Change(actor="ann", reason="first"))
    registry.set_alias("t", "support:1", "production", Change(actor="bob", reason="no move"))
    registry.set_alias("t", "support:2", "production", Change(actor="bob"))
    registry.rollback("t", "support", "production", Change(actor="eve", reason="worse"))
    registry.delete_alias("t", "support", "production")

    history = registry.history("t", "support", alias="production")[::-1]

    assert [(event.kind, event.from_number, event.number, event.actor) for event in history] == [
        ("set", None, 1, "ann"),
        ("set", 1, 2, "bob"),
        ("rollback", 2, 1, "eve"),
        ("delete", 1, None, ""),
    ]
    assert history[2].reason == "worse"
    with pytest.raises(UnknownAliasError):
        registry.rollback("t", "support", "production")
    with pytest.raises(UnknownAliasError):
        registry.delete_alias("t", "support", "production")


def test_an_alias_that_was_deleted_begins_anew(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    registry.set_alias("t", "support:1", "production")
    registry.delete_alias("t", "support", "production")
    registry.set_alias("t", "support:2", "production")

    with pytest.raises(NoEarlierVersionError):
        registry.rollback("t", "support", "production")


def test_an_ill_formed_alias_is_refused(registry: Registry, add: Add) -> None:
    add(0)

    with pytest.raises(InvalidNameError, match="alias"):
        registry.set_alias("t", "support", "Production!")


def test_a_version_that_an_alias_points_to_is_not_deleted(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    registry.set_alias("t", "support:1", "production")

    with pytest.raises(AliasInUseError, match="support@production points to"):
        registry.delete("t", "support", 1)

    assert numbers(registry) == [2, 1]
    registry.delete("t", "support", 2)
    assert numbers(registry) == [1]


def test_a_deleted_number_is_never_given_again(registry: Registry, add: Add) -> None:
    add(0)
    add(1)
    registry.delete("t", "support", 2)
    assert add(2).number == 3
    registry.set_alias("t", "support", "production")

    registry.delete("t", "support")
    assert registry.adapters("t") == []

    assert add(1).number == 4
    assert registry.adapters("t")[0].aliases == {}


def test_files_go_with_the_last_version_that_needs_them(registry: Registry, add: Add) -> None:
    shared = add(0)
    add(0, name="other")
    alone = add(1)

    registry.delete("t", "support")
    assert shared.path.is_dir()
    assert not alone.path.exists()

    registry.delete("t", "other")
    assert not shared.path.exists()
    assert registry.check_integrity() == []


def test_sweeping_removes_folders_without_a_version(registry: Registry, add: Add) -> None:
    version = add(0)
    with registry.folders.stage() as staged:
        (staged / "file").write_text("orphan")
        registry.folders.publish(staged, "0" * 64)
    assert registry.check_integrity() == [f"folder {'0' * 64} belongs to no version"]

    registry.sweep(older_than_seconds=3600)

    assert registry.check_integrity() == []
    assert version.path.is_dir()


def test_missing_files_are_reported(registry: Registry, add: Add) -> None:
    version = add(0)
    registry.folders.delete(version.path.name)

    assert registry.check_integrity() == [f"version files {version.path.name} are missing"]


@pytest.mark.parametrize("module", ["registry", "reference", "config", "manifest", "archive", "coverage", "version"])
def test_listing_and_resolving_leave_torch_unloaded(module: str) -> None:
    code = f"import sys, adapters.{module}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
