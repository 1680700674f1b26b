import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.signing import SigningKey
from tests.service.cli.conftest import Run


def test_a_pair_is_written_that_only_its_owner_can_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing"

    said = run("keys", "generate", "--output", path, "--json")

    assert said.code == 0, said.err
    key = SigningKey.parse(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.with_name("signing.pub").read_text().strip() == key.public_text == json.loads(said.out)["public_key"]
    assert key.private_text not in said.out + said.err
    again = run("keys", "generate", "--output", path)
    assert (again.code, "exists" in again.err) == (1, True)
    assert SigningKey.parse(path.read_text()).public_text == key.public_text


def test_an_archive_is_signed_by_a_file_and_refused_by_strangers(
    run: Run, tmp_path: Path, make_adapter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("adapters", "import", make_adapter(tmp_path / "a", seed=1), "--name", "support")
    archive = tmp_path / "support.tar.gz"
    unsigned = run("adapters", "export", "support", "--format", "archive", "--output", archive)
    assert (unsigned.code, "lorad keys generate" in unsigned.err, archive.exists()) == (1, True, False)

    run("keys", "generate", "--output", tmp_path / "key")
    monkeypatch.setenv("LORAD_SIGNING_KEY_FILE", str(tmp_path / "key"))
    exported = run("adapters", "export", "support", "--format", "archive", "--output", archive)
    assert exported.code == 0, exported.err
    refused = run("adapters", "import", archive, "--name", "copy")
    assert (refused.code, "unknown key" in refused.err) == (1, True)
    monkeypatch.setenv("LORAD_TRUSTED_KEYS", f"builder={(tmp_path / 'key.pub').read_text().strip()}")
    taken = run("adapters", "import", archive, "--name", "copy", "--json")
    assert json.loads(taken.out)["lineage"]["origin"]["signer"] == "builder"
    history = run("adapters", "history", "copy", "--json")
    assert json.loads(history.out)[0]["actor"].startswith("cli:")


def test_promotion_tags_and_pruning_read_as_they_are_typed(
    run: Run, tmp_path: Path, make_adapter: Callable[..., Path]
) -> None:
    for seed in (1, 2):
        run("adapters", "import", make_adapter(tmp_path / f"a{seed}", seed=seed), "--name", "support")
    promoted = run("adapters", "promote", "support:1", "prod", "canary", "--expected", "prod=0")
    assert promoted.out.splitlines() == ["support@prod -> support:1", "support@canary -> support:1"]
    refused = run("adapters", "promote", "support:2", "prod", "--expected", "prod=2")
    assert (refused.code, "points to version 1, but version 2 was expected" in refused.err) == (1, True)
    assert run("adapters", "promote", "support:2", "prod", "--expected", "dev=2").code == 2
    assert run("adapters", "tag", "support:2", "stage=gold", "blue").out == "support:2 tags: blue, stage=gold\n"
    listed = json.loads(run("adapters", "list", "--tag", "stage=gold", "--json").out)
    assert [(each["name"], each["matches"]) for each in listed] == [("support", [2])]
    assert run("adapters", "prune", "--keep", "1").out == "deleted: none\n"
    for alias in ("prod", "canary"):
        run("adapters", "alias", "support", alias, "--delete")
    assert run("adapters", "prune", "--keep", "1", "--dry-run").out == "would be deleted: support:1\n"
    assert run("adapters", "prune", "support", "--keep", "1").out == "deleted: support:1\n"
