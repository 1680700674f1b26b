"""The end of a run: the adapter folder, in PEFT's format plus `lorad.json`."""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError

from adapters.config import LoraConfig
from adapters.files import ADAPTER_FILES
from adapters.manifest import BaseIdentity, DataIdentity, GoldenLogits, Manifest, RenderingIdentity
from base.loader import LoadedBase
from base.rendering import Renderer
from storage.durable import flush, staged_folder
from training.artifacts.golden import golden_logits
from training.artifacts.weights import write_layers
from training.config import TrainingConfig
from training.errors import OutputError
from training.layers.lora import LoraLinear
from training.run import TrainingData, TrainingResult

_LIBRARIES = ("lorad", "torch", "transformers", "safetensors", "bitsandbytes")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Everything that the manifest tells about a finished run."""

    base: LoadedBase
    renderer: Renderer
    config: TrainingConfig
    data: TrainingData
    result: TrainingResult


def write_output(output: Path, layers: Mapping[str, LoraLinear], adapter: LoraConfig, finished: Finished) -> Manifest:
    """Writes the three files of the adapter into `output`; call it while `layers` are still in the base's model.

    The files are complete before any of them appears in `output`.

    Raises:
        OutputError: they cannot be written, on a full disk for one; the last checkpoint can be resumed.
    """
    manifest = _manifest(finished)
    try:
        _write(output, layers, adapter, manifest)
    # safetensors gives a failed write its own error.
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"the adapter cannot be written to {output}: {error}; checkpoints are intact: make room and add --resume"
        ) from error
    return manifest


def _write(output: Path, layers: Mapping[str, LoraLinear], adapter: LoraConfig, manifest: Manifest) -> None:
    shutil.rmtree(output / ".adapter", ignore_errors=True)
    with staged_folder(output / ".adapter") as staged:
        write_layers(staged, layers, adapter)
        manifest.write(staged)
    for name in ADAPTER_FILES:
        os.replace(output / ".adapter" / name, output / name)
    shutil.rmtree(output / ".adapter")
    flush(output)


def _manifest(finished: Finished) -> Manifest:
    base, rendering, data = finished.base, finished.renderer.identity, finished.data
    # A held-out row where there is one: golden logits should not be ones that training has seen.
    rows = data.valid or data.train
    golden = golden_logits(base, rows.examples[0])
    return Manifest(
        base=BaseIdentity(name=base.name, digest=base.digest),
        rendering=RenderingIdentity(
            kind=rendering.kind,
            template_text=rendering.template,
            default_system=rendering.preamble,
            end_of_turn_ids=rendering.end_of_turn_ids,
        ),
        golden=GoldenLogits(
            prompt_ids=golden.prompt_ids,
            top_ids=golden.top_ids,
            top_logits=golden.top_logits,
            quantization=base.quantization,
            dtype=str(base.dtype).removeprefix("torch."),
        ),
        data=DataIdentity(
            digest=data.digest,
            rows=len(data.train.examples),
            test_digest=data.valid_digest,
            test_rows=None if data.valid is None else len(data.valid.examples),
        ),
        training={**finished.config.model_dump(mode="json"), "quantization": base.quantization, **_start(data)},
        metrics=finished.result.metrics,
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )


def _start(data: TrainingData) -> dict[str, str]:
    return {} if data.initial_digest is None else {"init_digest": data.initial_digest}
