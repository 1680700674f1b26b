"""One contract for the registry as commands see it: in this process, and on a running server."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.errors import AdapterError
from adapters.signing import SigningKey
from service.cli.catalog import Catalog, Query
from service.cli.catalogs import open_catalog
from service.errors import RemoteError, SettingsError
from service.settings import Settings

REFUSED = (AdapterError, RemoteError)


@pytest.fixture
def local(tmp_path: Path, tiny_base_folder: Path) -> Settings:
    key = SigningKey.generate()
    return Settings(
        home=tmp_path / "home",
        base_model=str(tiny_base_folder),
        server=None,
        signing_key=SecretStr(key.private_text),
        trusted_keys=f"builder={key.public_text}",
    )


@pytest.fixture
def remote(local: Settings) -> Iterator[Settings]:
    from service.api.process.server import Server

    ready = threading.Event()
    server = Server(local.model_copy(update={"port": 0}), on_ready=lambda _url: ready.set())
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    assert ready.wait(60)
    yield local.model_copy(update={"server": server.url})
    server.stop()
    thread.join()


@pytest.fixture(params=["local", "remote"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return open_catalog(request.getfixturevalue(request.param))


@pytest.fixture
def folders(make_adapter: Callable[..., Path], tmp_path: Path) -> list[Path]:
    return [make_adapter(tmp_path / f"a{seed}", seed=seed) for seed in range(2)]


def test_a_folder_goes_in_is_seen_and_comes_out(catalog: Catalog, folders: list[Path], tmp_path: Path) -> None:
    version = catalog.import_folder(folders[0], "support")
    assert (version["name"], version["number"]) == ("support", 1)
    [adapter] = catalog.adapters()
    assert (adapter["name"], adapter["num_versions"], adapter["aliases"]) == ("support", 1, {})
    assert adapter["latest"] == version
    assert catalog.versions("support") == [version]
    assert {"digest", "base_name", "base_digest", "rank", "size_bytes", "created_at", "source", "metrics"} <= set(
        version
    )
    catalog.export("support", tmp_path / "out")
    name = "adapter_model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (folders[0] / name).read_bytes()


def test_aliases_move_roll_back_and_go(catalog: Catalog, folders: list[Path]) -> None:
    for folder in folders:
        catalog.import_folder(folder, "support")
    assert catalog.promote("support:1", {"prod": None}, "first")[0]["number"] == 1
    assert catalog.promote("support", {"prod": None}, "")[0]["number"] == 2
    assert catalog.rollback("support", "prod", "worse")["number"] == 1
    assert catalog.adapters()[0]["aliases"] == {"prod": 1}
    catalog.delete_alias("support", "prod")
    assert catalog.adapters()[0]["aliases"] == {}


def test_versions_and_adapters_are_deleted(catalog: Catalog, folders: list[Path]) -> None:
    for folder in folders:
        catalog.import_folder(folder, "support")
    catalog.delete("support:2")
    assert [version["number"] for version in catalog.versions("support")] == [1]
    catalog.delete("support")
    assert catalog.adapters() == []


def test_what_is_unknown_or_malformed_is_refused(catalog: Catalog, folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(REFUSED, match="suport"):
        catalog.versions("suport")
    (tmp_path / "empty").mkdir()
    with pytest.raises(REFUSED, match=r"adapter_config\.json"):
        catalog.import_folder(tmp_path / "empty", "support")
    with pytest.raises(REFUSED, match=r"No Name"):
        catalog.import_folder(folders[0], "No Name")
    assert catalog.adapters() == []


def test_a_rank_beyond_the_limit_is_refused(local: Settings, make_adapter: Callable[..., Path], tmp_path: Path) -> None:
    catalog = open_catalog(local.model_copy(update={"max_lora_rank": 4}))
    with pytest.raises(AdapterError, match="rank 8"):
        catalog.import_folder(make_adapter(tmp_path / "wide", seed=1, rank=8), "wide")


def test_aliases_are_promoted_together_or_not_at_all(catalog: Catalog, folders: list[Path]) -> None:
    for folder in folders:
        catalog.import_folder(folder, "support")
    moved = catalog.promote("support:1", {"prod": 0, "canary": None}, "first")
    assert [version["number"] for version in moved] == [1, 1]
    with pytest.raises(REFUSED, match="version 2 was expected"):
        catalog.promote("support:2", {"canary": None, "prod": 2}, "")
    assert catalog.adapters()[0]["aliases"] == {"prod": 1, "canary": 1}
    assert [(event["kind"], event["reason"]) for event in catalog.history("support", 10)] == [
        ("set", "first"),
        ("set", "first"),
        ("publish", ""),
        ("publish", ""),
    ]
    assert all(event["actor"] for event in catalog.history("support", 10))


def test_tags_find_adapters(catalog: Catalog, folders: list[Path]) -> None:
    for folder, name in zip(folders, ("support", "other"), strict=True):
        catalog.import_folder(folder, name)
    assert catalog.tag("support:1", {"stage": "gold", "label": ""}, "")["tags"] == {"label": "", "stage": "gold"}
    [found] = catalog.adapters(Query(tags=["stage=gold"]))
    assert (found["name"], found["matches"]) == ("support", [1])
    assert catalog.tag("support:1", {"stage": None}, "")["tags"] == {"label": ""}
    assert catalog.adapters(Query(tags=["stage"])) == []
    assert catalog.lineage("support")["ancestors"] == []


def test_old_versions_are_pruned_but_not_those_that_are_needed(catalog: Catalog, folders: list[Path]) -> None:
    for folder in folders:
        catalog.import_folder(folder, "support")
    catalog.keep("support", 1, "")
    assert catalog.pin("support:1", "")["pinned"] is True
    assert catalog.prune("support", None, checkpoints=True, dry_run=False) == []
    assert catalog.unpin("support") == ["support:1"]
    assert catalog.prune("support", None, checkpoints=False, dry_run=True) == ["support:1"]
    assert len(catalog.versions("support", checkpoints=True)) == 2
    assert catalog.prune("support", None, checkpoints=False, dry_run=False) == ["support:1"]
    assert [version["number"] for version in catalog.versions("support")] == [2]


def test_a_signed_archive_goes_over_and_an_unsigned_one_does_not(
    catalog: Catalog, folders: list[Path], tmp_path: Path
) -> None:
    version = catalog.import_folder(folders[0], "support")
    catalog.tag("support", {"stage": "gold"}, "")
    catalog.export_archive("support", tmp_path / "signed.tar.gz", allow_unsigned=False)
    catalog.delete("support")

    arrived = catalog.import_archive(tmp_path / "signed.tar.gz", None, allow_unsigned=False)
    assert (arrived["name"], arrived["number"], arrived["digest"]) == ("support", 2, version["digest"])
    assert (arrived["tags"], arrived["lineage"]["origin"]["signer"]) == ({"stage": "gold"}, "builder")
    catalog.export("support", tmp_path / "plain.tar.gz")
    with pytest.raises(REFUSED, match="not signed"):
        catalog.import_archive(tmp_path / "plain.tar.gz", "copy", allow_unsigned=False)
    assert catalog.import_archive(tmp_path / "plain.tar.gz", "copy", allow_unsigned=True)["name"] == "copy"
    with pytest.raises(SettingsError, match="exists"):
        catalog.export_archive("support", tmp_path / "signed.tar.gz", allow_unsigned=False)
