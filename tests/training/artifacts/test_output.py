"""What a run leaves: a folder that PEFT loads and that gives there the logits it gave here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.base_facts import BaseFacts
from adapters.files import ADAPTER_FILES
from adapters.validation import validate
from base.loader import LoadedBase
from base.rendering import Renderer
from base.shapes import module_shapes
from training.artifacts.weights import read_layers
from training.config import TrainingConfig
from training.errors import OutputError
from training.layers.lora import LoraLinear, inject
from training.run import TrainingData

Train = Callable[..., Any]

KINDS = [
    {},
    {"rslora": True},
    {"dora": True},
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["model.layers.0.self_attn.q_proj"]},
    {"target_modules": ["layers.1.mlp.down_proj"], "dora": True},
]


@pytest.mark.parametrize("kind", KINDS)
def test_peft_gives_the_logits_that_training_gave(
    kind: dict[str, Any], train: Train, base: LoadedBase, peft_model: Callable[..., Any]
) -> None:
    run = train(**kind)
    ids = torch.arange(4, 40)[None]
    theirs = peft_model(run.output)(ids).logits
    # Our own layers, filled from the same folder.
    config = run.manifest.training
    layers: dict[str, LoraLinear] = inject(base.model, _config(config))
    read_layers(run.output, layers)
    torch.testing.assert_close(base.model(ids).logits, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(peft_model(None)(ids).logits, theirs, rtol=1e-3, atol=1e-3)


def _config(training: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig(**{key: value for key, value in training.items() if key != "quantization"})


@pytest.mark.parametrize("quantization", ["none", "int8", "nf4"])
def test_the_output_is_an_adapter_of_its_base(
    train: Train, load_base: Callable[..., LoadedBase], with_valid: TrainingData, quantization: str
) -> None:
    base = load_base(quantization)
    facts = BaseFacts(name=base.name, digest=base.digest, linear_shapes=module_shapes(base.model))
    run = train(base=base, data=with_valid)
    checked = validate(run.output, facts)
    assert not checked.identity
    assert not checked.warnings
    assert sorted(path.name for path in run.output.iterdir()) == sorted([*ADAPTER_FILES, "checkpoints"])
    manifest = checked.manifest
    assert manifest == run.manifest
    assert manifest.base.digest == base.digest
    assert manifest.data is not None
    assert (manifest.data.rows, manifest.data.test_rows) == (5, 2)
    assert manifest.training["quantization"] == quantization
    assert set(manifest.metrics) == {"published_step", "train_loss", "valid_loss", "last_valid_loss", "base_valid_loss"}


def test_the_rendering_goes_into_the_manifest(train: Train, renderer: Renderer) -> None:
    rendering = train().manifest.rendering
    assert rendering.kind == "chat"
    assert rendering.template_text == renderer.identity.template
    assert "You are a tiny test model" in rendering.default_system
    assert rendering.end_of_turn_ids == renderer.identity.end_of_turn_ids


def test_golden_logits_can_be_had_again_from_the_folder(
    train: Train, with_valid: TrainingData, peft_model: Callable[..., Any]
) -> None:
    run = train(data=with_valid)
    golden = run.manifest.golden
    assert with_valid.valid is not None
    assert golden.prompt_ids == with_valid.valid.examples[0].input_ids[:32]
    logits = peft_model(run.output)(torch.tensor([golden.prompt_ids])).logits[0, -1]
    top = logits.topk(len(golden.top_ids))
    assert tuple(top.indices.tolist()) == golden.top_ids
    assert top.values.tolist() == pytest.approx(golden.top_logits, abs=1e-4)
    assert (golden.quantization, golden.dtype) == ("none", "float32")


def test_a_second_run_takes_the_place_of_the_first(train: Train) -> None:
    first = train(max_steps=1).weights
    second = train(max_steps=2).weights
    assert set(first) == set(second)
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_the_folder_is_complete_before_anything_of_it_appears(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.manifest.Manifest.write", fail)
    with pytest.raises(OutputError, match="No space"):
        train()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoints"]
