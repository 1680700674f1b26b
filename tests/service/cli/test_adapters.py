import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
"""Types a command; gives code, out and err."""


@pytest.fixture
def folders(make_adapter: Callable[..., Path], tmp_path: Path) -> list[Path]:
    return [make_adapter(tmp_path / f"a{seed}", seed=seed) for seed in range(2)]


def test_an_imported_peft_folder_is_listed_shown_and_exported(run: Run, folders: list[Path], tmp_path: Path) -> None:
    imported = run("adapters", "import", folders[0], "--name", "support", "--json")
    assert imported.code == 0, imported.err
    assert json.loads(imported.out)["base_digest"] == "assumed"
    assert "support" in run("adapters", "list").out
    assert "support:1" in run("adapters", "show", "support").out
    assert run("adapters", "export", "support", "--output", tmp_path / "back").code == 0
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folders[0] / name).read_bytes()
    assert run("adapters", "export", "support", "--output", tmp_path / "back.tar.gz").code == 0
    assert (tmp_path / "back.tar.gz").stat().st_size > 0


def test_export_does_not_overwrite(run: Run, folders: list[Path], tmp_path: Path) -> None:
    run("adapters", "import", folders[0], "--name", "support")
    (tmp_path / "mine").mkdir()
    outcome = run("adapters", "export", "support", "--output", tmp_path / "mine")
    assert outcome.code == 1
    assert not list((tmp_path / "mine").iterdir())


def test_an_alias_moves_and_rolls_back(run: Run, folders: list[Path]) -> None:
    for folder in folders:
        run("adapters", "import", folder, "--name", "support")
    assert run("adapters", "alias", "support:1", "prod").out.strip() == "support@prod -> support:1"
    assert run("adapters", "alias", "support:2", "prod").out.strip() == "support@prod -> support:2"
    assert run("adapters", "rollback", "support", "--alias", "prod").out.strip() == "support@prod -> support:1"
    assert run("adapters", "alias", "support", "prod", "--delete").code == 0
    assert run("adapters", "show", "support@prod").code == 1


def test_deleting_asks_and_an_alias_protects(run: Run, folders: list[Path]) -> None:
    for folder in folders:
        run("adapters", "import", folder, "--name", "support")
    run("adapters", "alias", "support:1", "prod")
    outcome = run("adapters", "delete", "support:1", "--yes")
    assert outcome.code == 1
    assert "support@prod" in outcome.err
    assert run("adapters", "delete", "support:2", "--yes").code == 0
    assert run("adapters", "delete", "support", "--yes").code == 0
    assert json.loads(run("adapters", "list", "--json").out) == []


def test_an_unknown_adapter_names_the_nearest(run: Run, folders: list[Path]) -> None:
    run("adapters", "import", folders[0], "--name", "support")
    outcome = run("adapters", "show", "suport")
    assert outcome.code == 1
    assert "'support'" in outcome.err


def test_an_adapter_of_other_shapes_is_refused_and_nothing_stays(
    run: Run, make_adapter: Callable[..., Path], tmp_path: Path, home: Path
) -> None:
    folder = make_adapter(tmp_path / "odd", seed=1)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "r": 3}))
    outcome = run("adapters", "import", folder, "--name", "odd")
    assert outcome.code == 1
    assert "lora_A" in outcome.err
    assert json.loads(run("adapters", "list", "--json").out) == []
    assert not list((home / "adapters").glob("??/*"))


def test_a_folder_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    outcome = run("adapters", "import", tmp_path / "none", "--name", "support")
    assert outcome.code == 1
    assert str(tmp_path / "none") in outcome.err


@pytest.mark.parametrize(("format_", "dtype"), [("merged", "bfloat16"), ("gguf", "q8_0")])
def test_a_whole_model_is_exported_and_says_how_it_compares(
    run: Run, folders: list[Path], tmp_path: Path, format_: str, dtype: str
) -> None:
    run("adapters", "import", folders[0], "--name", "support")
    output = tmp_path / "model"
    done = run("adapters", "export", "support", "--format", format_, "--dtype", dtype, "--output", output, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["same_tokens"] + result["ties"] == result["tokens"]
    assert output.exists()
    again = run("adapters", "export", "support", "--format", format_, "--output", output)
    assert (again.code, "exists" in again.err) == (1, True)


@pytest.mark.parametrize(("format_", "dtype"), [("merged", "q8_0"), ("gguf", "bfloat16"), ("peft", "float32")])
def test_a_dtype_that_the_format_does_not_have_is_refused(
    run: Run, folders: list[Path], tmp_path: Path, format_: str, dtype: str
) -> None:
    run("adapters", "import", folders[0], "--name", "support")
    output = tmp_path / "model"
    done = run("adapters", "export", "support", "--format", format_, "--dtype", dtype, "--output", output)
    assert done.code == 2
    assert "--dtype" in done.err
    assert not output.exists()
