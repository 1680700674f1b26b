"""A merged model as one GGUF file."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerBase

from base.loader import Device, load_tokenizer, quiet_loading, resolve_device
from base.rendering import create_renderer, raw
from service.errors import ExportError
from service.export.chat_template import plain_template
from service.export.gguf.families import Family, family_of
from service.export.gguf.vocabulary import read_vocabulary
from service.export.material import Material
from service.export.parity import Expected, Parity, check_rendering, compare, expect
from service.export.space import require_space
from storage.durable import staged_file

GgufDType = Literal["f32", "f16", "q8_0"]

_TYPES: Final = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
_PARITY: Final = {"f32": "float32", "f16": "float16", "q8_0": "q8_0"}
_LARGEST_HALF: Final = 65504.0


class _Writing:
    """One file: first the names, shapes and types of all tensors, then their bytes, one tensor in memory at a time."""

    def __init__(self, material: Material, dtype: GgufDType) -> None:
        self.material = material
        self.config: dict[str, Any] = json.loads((material.source.folder / "config.json").read_text(encoding="utf-8"))
        self.family: Family = family_of(self.config)
        self.dtype = dtype
        self.vocabulary = read_vocabulary(material.source.folder, self.config["vocab_size"])
        self.names = self._tensor_names()

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return sum(self._stored(name)[1] for name in self.names)

    def write(self, path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the file."""
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[self.family.architecture])
        try:
            self._add_keys(writer, tokenizer)
            for name, written in self.names.items():
                kind, num_bytes = self._stored(name)
                shape = self.material.merged.stored.tensors[name].shape
                as_bytes = gguf.quant_shape_to_byte_shape(shape, kind) if _is_quantised(kind) else shape
                numpy_type = {"F32": np.float32, "F16": np.float16}.get(kind.name, np.uint8)
                writer.add_tensor_info(written, as_bytes, np.dtype(numpy_type), num_bytes, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for name in self.names:
                writer.write_tensor_data(self._data(name))
        finally:
            writer.close()

    def _tensor_names(self) -> dict[str, str]:
        """Stored name to GGUF's name; an output head that is the embedding stays out."""
        known = gguf.get_tensor_name_map(self.family.architecture, int(self.config["num_hidden_layers"]))
        names = {}
        for name in self.material.merged.stored.tensors:
            if name == "lm_head.weight" and self.config.get("tie_word_embeddings"):
                continue
            written = known.get_name(name, try_suffixes=(".weight", ".bias"))
            if written is None:
                raise ExportError(f"llama.cpp has no tensor for {name!r} of this base; export with --format merged")
            names[name] = written
        return names

    def _stored(self, name: str) -> tuple[gguf.GGMLQuantizationType, int]:
        """A tensor's type and its bytes. Vectors stay in float32, as llama.cpp wants them."""
        shape = self.material.merged.stored.tensors[name].shape
        kind = _TYPES[self.dtype][0] if len(shape) > 1 else gguf.GGMLQuantizationType.F32
        block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
        if shape[-1] % block:
            # Rows that do not divide into blocks.
            kind, block, block_bytes = gguf.GGMLQuantizationType.F16, 1, 2
        return kind, torch.Size(shape).numel() // block * block_bytes

    def _data(self, name: str) -> Any:
        tensor = self.family.convert(name, self.material.merged.read(name).to(torch.float32), self.config)
        kind, num_bytes = self._stored(name)
        if kind == gguf.GGMLQuantizationType.F16 and float(tensor.abs().max()) > _LARGEST_HALF:
            raise ExportError(f"tensor {name!r} has values beyond float16's range; choose --dtype f32")
        data = gguf.quantize(tensor.contiguous().numpy(), kind)
        assert data.nbytes == num_bytes, name
        return data

    def _add_keys(self, writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
        material = self.material
        writer.add_type("model")
        writer.add_name(f"{material.facts.name} with {material.label}")
        for key, value in material.provenance.items():
            writer.add_string(f"lorad.{key}", value)
        self.family.add_keys(writer, self.config)
        writer.add_file_type(_TYPES[self.dtype][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        self.vocabulary.write(writer)
        writer.add_add_bos_token(bool(raw(tokenizer, "")))
        ids = {
            writer.add_bos_token_id: tokenizer.bos_token_id,
            writer.add_eos_token_id: tokenizer.eos_token_id,
            writer.add_unk_token_id: tokenizer.unk_token_id,
            writer.add_pad_token_id: tokenizer.pad_token_id,
        }
        for add, token in ids.items():
            if token is not None:
                add(token)
        renderer = create_renderer(tokenizer, material.template)
        end = renderer.identity.end_of_turn_ids[0]
        if end != tokenizer.eos_token_id:
            writer.add_eot_token_id(end)
        template = plain_template(tokenizer, material.template) or tokenizer.chat_template
        writer.add_chat_template(template)


def export_gguf(
    material: Material, output: Path, dtype: GgufDType, device: Device, report: Callable[[str], None]
) -> Parity:
    """Write the base with the adapter in its weights to the file `output`, and prove that it answers as both did.

    Args:
        material: adapter and base.
        output: must not exist; appears whole or not at all.
        dtype: of the matrices; vectors are float32.
        device: where the two are compared.
        report: receives lines of progress.

    Raises:
        ExportError: llama.cpp does not know the architecture or tokenizer, the disk is too full, or the file does
            not answer as the adapter.
        StagedFolderError: `output` exists.
    """
    writing = _Writing(material, dtype)
    require_space(output, writing.num_bytes)
    report("asking base and adapter, to compare")
    expected = expect(material, device)
    with staged_file(output) as staged:
        report(f"merging {material.label} into {material.facts.name}")
        writing.write(staged, load_tokenizer(material.source))
        report("loading the file again, to compare")
        return _check(staged, expected, dtype, device)


def _check(path: Path, expected: Expected, dtype: GgufDType, device: Device) -> Parity:
    # The libraries draw a bar of their own; what goes wrong comes as an exception.
    with quiet_loading(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        check_rendering(expected, tokenizer)
        model: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    return compare(expected, model.to(resolve_device(device)).eval(), _PARITY[dtype])


def _is_quantised(kind: gguf.GGMLQuantizationType) -> bool:
    return kind not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
