import dataclasses
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters.merge import MergedWeights
from base.rendering import create_renderer
from service.errors import ExportError
from service.export.material import Material
from service.export.merged import export_merged
from service.export.parity import Parity

KINDS: dict[str, dict[str, Any]] = {"lora": {}, "rslora": {"rslora": True}, "dora": {"dora": True}}
Usage = namedtuple("Usage", "total used free")


def export(
    material: Material, output: Path, dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
) -> Parity:
    return export_merged(material, output, dtype, "cpu", lambda _line: None)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_transformers_answers_with_the_export_as_peft_with_the_adapter(
    make_adapter: Callable[..., Path],
    peft_model: Callable[..., Any],
    material: Callable[..., Material],
    tmp_path: Path,
    kind: str,
) -> None:
    adapter = make_adapter(tmp_path / "adapter", seed=5, **KINDS[kind])
    parity = export(material(adapter), tmp_path / "out")
    assert parity.same_tokens + parity.ties == parity.tokens > 0
    assert parity.change_kept > 0.99
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    assert exported.dtype == torch.float32
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")("the answer is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(exported(ids).logits, peft_model(adapter)(ids).logits, rtol=1e-4, atol=1e-4)
    record = json.loads((tmp_path / "out" / "lorad-export.json").read_text())
    assert record["adapter"] == "support:1"
    assert record["parity"]["same_tokens"] == parity.same_tokens


def test_what_the_adapter_leaves_alone_stays_bit_for_bit_in_its_own_dtype(
    make_adapter: Callable[..., Path], material: Callable[..., Material], tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))
    stored = load_file(folder / "model.safetensors")
    stored = {name: tensor if "norm" in name else tensor.to(torch.bfloat16) for name, tensor in stored.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    adapter = make_adapter(tmp_path / "adapter", seed=5, targets=("q_proj",))
    export(material(adapter, folder), tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert set(written) == set(stored)
    for name, tensor in stored.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor) == ("q_proj" not in name)


def test_an_export_that_answers_otherwise_is_refused_and_removed(
    make_adapter: Callable[..., Path], material: Callable[..., Material], tmp_path: Path
) -> None:
    given = material(make_adapter(tmp_path / "adapter", seed=5))
    louder = dataclasses.replace(given.checked.config, alpha=3 * given.checked.config.alpha)
    wrong = dataclasses.replace(given, merged=MergedWeights(given.merged.stored, given.weights, louder))
    with pytest.raises(ExportError, match="does not answer as the adapter"):
        export(wrong, tmp_path / "there" / "out")
    assert not list((tmp_path / "there").iterdir())


def test_a_change_that_rounding_covers_is_refused(
    make_adapter: Callable[..., Path], material: Callable[..., Material], tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter", seed=5)
    weights = load_file(adapter / "adapter_model.safetensors")
    faint = {name: tensor * 1e-4 if "lora_B" in name else tensor for name, tensor in weights.items()}
    save_file(faint, adapter / "adapter_model.safetensors")
    with pytest.raises(ExportError, match="rounding covers the adapter's change"):
        export(material(adapter), tmp_path / "out", "bfloat16")
    assert not (tmp_path / "out").exists()
    export(material(adapter), tmp_path / "out", "float32")


def test_a_full_disk_is_refused_before_anything_is_written(
    make_adapter: Callable[..., Path],
    material: Callable[..., Material],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = material(make_adapter(tmp_path / "adapter", seed=5))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1 << 30, 1 << 30, 1 << 20))
    with pytest.raises(ExportError, match=r"needs 0\.06 GiB .* 0\.00 GiB are free"):
        export(given, tmp_path / "there" / "out")
    assert not (tmp_path / "there").exists()


def test_a_base_of_several_files_keeps_its_division(
    make_adapter: Callable[..., Path], material: Callable[..., Material], tiny_base_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_base_folder, tmp_path / "base"))
    (folder / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(tiny_base_folder, dtype=torch.float32)
    model.save_pretrained(folder, max_shard_size="100KB")
    adapter = make_adapter(tmp_path / "adapter", seed=5)
    export(material(adapter, folder), tmp_path / "out", "bfloat16")
    names = {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert names == {path.name for path in folder.glob("*.safetensors")}
    assert len(names) > 1
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    sizes = (tensor.nbytes for name in names for tensor in load_file(tmp_path / "out" / name).values())
    assert index["metadata"]["total_size"] == sum(sizes)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_an_adapter_of_the_plain_template_brings_it_along(
    make_adapter: Callable[..., Path], material: Callable[..., Material], tmp_path: Path
) -> None:
    adapter = make_adapter(tmp_path / "adapter", seed=5)
    given = material(adapter)
    manifest = json.loads((adapter / "lorad.json").read_text())
    manifest["rendering"] = {"kind": "plain", "template_text": "", "default_system": None, "end_of_turn_ids": [0]}
    (adapter / "lorad.json").write_text(json.dumps(manifest))
    export(material(adapter), tmp_path / "out")
    base, exported = (AutoTokenizer.from_pretrained(folder) for folder in (given.source.folder, tmp_path / "out"))
    talk = [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "hello"}]
    for messages in (talk[:1], talk, [*talk, talk[0]]):
        expected = create_renderer(base, "plain").prompt(messages)
        assert create_renderer(exported, "chat").prompt(messages) == expected
