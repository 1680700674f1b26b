import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adapters.base_facts import BaseFacts
from adapters.errors import BaseMismatchError, InvalidAdapterError
from adapters.manifest import BaseIdentity, Manifest
from adapters.validation import validate

OTHER = "sha256:" + "c" * 64


def test_an_adapter_from_elsewhere_passes_by_its_shapes(folder: Path, base: BaseFacts) -> None:
    checked = validate(folder, base)

    assert checked.manifest == Manifest(base=BaseIdentity(name="tiny", digest="assumed"))
    assert checked.config.rank == 4
    assert len(checked.modules) == 4
    assert not checked.identity
    assert [("tiny is assumed" in warning) for warning in checked.warnings] == [True]


def test_an_adapter_of_this_base_passes_without_warning(folder: Path, base: BaseFacts) -> None:
    manifest = Manifest(base=BaseIdentity(name="tiny", digest=base.digest))
    manifest.write(folder)

    checked = validate(folder, base)

    assert checked.manifest == manifest
    assert checked.warnings == ()


def test_an_adapter_of_another_base_is_refused_with_both_identities(folder: Path, base: BaseFacts) -> None:
    Manifest(base=BaseIdentity(name="other", digest=OTHER)).write(folder)

    with pytest.raises(BaseMismatchError, match=f"'other'.*{OTHER}.*'tiny'.*{base.digest}") as caught:
        validate(folder, base)

    assert (caught.value.expected_digest, caught.value.found_digest) == (base.digest, OTHER)


def test_an_adapter_for_other_shapes_is_refused(folder: Path, base: BaseFacts) -> None:
    wider = {name: (2 * out, 2 * inner) for name, (out, inner) in base.linear_shapes.items()}

    with pytest.raises(InvalidAdapterError, match=r"has shape \(4, 32\), .* make it \(4, 64\)"):
        validate(folder, replace(base, linear_shapes=wider))


def test_an_adapter_that_does_nothing_passes_with_a_warning(
    save_with_peft: Callable[..., Path], base: BaseFacts
) -> None:
    checked = validate(save_with_peft(target_modules=["q_proj"], init_lora_weights=True), base)

    assert checked.identity
    assert checked.manifest.identity
    assert "answers exactly as the base does" in checked.warnings[0]


def test_a_manifest_that_calls_real_weights_an_identity_is_refused(folder: Path, base: BaseFacts) -> None:
    Manifest(base=BaseIdentity(name="tiny", digest=base.digest), identity=True).write(folder)

    with pytest.raises(InvalidAdapterError, match="do not belong together"):
        validate(folder, base)


def test_pickled_weights_are_never_read(folder: Path, base: BaseFacts) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")

    with pytest.raises(InvalidAdapterError, match="safe_serialization=True"):
        validate(folder, base)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(folder: Path, base: BaseFacts, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(InvalidAdapterError, match=re.escape(f"{name} is missing")):
        validate(folder, base)


def test_a_link_is_not_followed(folder: Path, base: BaseFacts, tmp_path: Path) -> None:
    (folder / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    (folder / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidAdapterError, match="cannot be read as a plain file"):
        validate(folder, base)


def test_a_header_with_more_tensors_than_the_base_can_have_is_not_parsed(
    folder: Path, base: BaseFacts, change_tensors: Callable[..., None]
) -> None:
    change_tensors(folder, **{f"extra{n}": torch.zeros(1) for n in range(100)})

    with pytest.raises(InvalidAdapterError, match="more than 42 tensors"):
        validate(folder, base)
