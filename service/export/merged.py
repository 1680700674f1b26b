"""A merged model as a transformers folder."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor

from base.digest import CACHE_NAME
from base.loader import Device, load, load_tokenizer
from base.rendering import create_renderer
from base.source import BaseSource
from base.stored import FLOAT_DTYPES, StoredTensor
from service.errors import ExportError
from service.export.chat_template import plain_template
from service.export.material import Material
from service.export.parity import Parity, check_rendering, compare, exact, expect
from service.export.space import require_space
from service.export.tensor_file import Entry, write_tensors
from storage.durable import staged_folder

MergedDType = Literal["stored", "float32", "bfloat16", "float16"]
RECORD: Final = "lorad-export.json"
_INDEX = "model.safetensors.index.json"
_CONFIG, _GENERATION = "config.json", "generation_config.json"
_COPIED = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "NOTICE*")
"""What a base's folder holds beside its weights."""
_NAMES = {dtype: name for name, dtype in FLOAT_DTYPES.items()}


def export_merged(
    material: Material, output: Path, dtype: MergedDType, device: Device, report: Callable[[str], None]
) -> Parity:
    """Write the base with the adapter in its weights to the folder `output`, and prove that it answers as both did.

    Args:
        material: adapter and base.
        output: must not exist; appears whole or not at all.
        dtype: of the weights; `stored` keeps each as the base stores it, and what the adapter leaves alone bit for bit.
        device: where the two are compared.
        report: receives lines of progress.

    Raises:
        ExportError: the disk is too full, a weight overflows the dtype, or the export does not answer as the adapter.
        StagedFolderError: `output` exists.
    """
    files = _plan(material, None if dtype == "stored" else getattr(torch, dtype))
    require_space(output, sum(entry.num_bytes for entries in files.values() for entry in entries))
    report("asking base and adapter, to compare")
    expected = expect(material, device)
    with staged_folder(output) as staged:
        report(f"merging {material.label} into {material.facts.name}")
        _copy_rest(material, staged, files)
        for name, entries in files.items():
            write_tensors(staged / name, entries, partial(_read, material))
        report("loading the export again, to compare")
        exported = load(BaseSource(material.label, staged), exact(device))
        check_rendering(expected, exported.tokenizer)
        parity = compare(expected, exported.model, _stored_as(material, dtype))
        # Loading leaves the digest's cache behind, which is of this folder's first place and time.
        (staged / CACHE_NAME).unlink(missing_ok=True)
        record = {**material.provenance, "dtype": dtype, "parity": parity.to_json()}
        (staged / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return parity


def _plan(material: Material, dtype: torch.dtype | None) -> dict[str, list[Entry]]:
    """The files to write, in the base's own division."""
    files: dict[str, list[Entry]] = {}
    for info in material.merged.stored.tensors.values():
        files.setdefault(info.file.name, []).append(_entry(material, info, dtype))
    return files


def _entry(material: Material, info: StoredTensor, dtype: torch.dtype | None) -> Entry:
    if info.dtype is None:
        return Entry(info.name, info.dtype_name, info.shape, material.merged.stored.read(info.name).nbytes)
    written = dtype or info.dtype
    return Entry(info.name, _NAMES[written], info.shape, torch.Size(info.shape).numel() * written.itemsize)


def _read(material: Material, entry: Entry) -> Tensor:
    tensor = material.merged.read(entry.name)
    dtype = FLOAT_DTYPES.get(entry.dtype_name, tensor.dtype)
    rounded = tensor.to(dtype)
    if dtype.is_floating_point and not bool(torch.isfinite(rounded).all()):
        raise ExportError(f"tensor {entry.name!r} has values beyond {dtype}'s range; choose --dtype float32")
    return rounded


def _copy_rest(material: Material, staged: Path, files: dict[str, list[Entry]]) -> None:
    source = material.source.folder
    for path in sorted({path for pattern in _COPIED for path in source.glob(pattern) if path.is_file()}):
        if path.name not in (CACHE_NAME, RECORD):
            # Bytes, not the file: a hub's cache is made of links.
            shutil.copyfile(path, staged / path.name)
    if (staged / _INDEX).exists():
        total = sum(entry.num_bytes for entries in files.values() for entry in entries)
        _change(staged / _INDEX, lambda index: index.setdefault("metadata", {}).update(total_size=total))
    dtypes = {entry.dtype_name for entries in files.values() for entry in entries} & set(FLOAT_DTYPES)
    if len(dtypes) == 1:
        name = str(FLOAT_DTYPES[dtypes.pop()]).removeprefix("torch.")
        _change(staged / _CONFIG, lambda config: (config.pop("torch_dtype", None), config.update(dtype=name)))
    _write_rendering(material, staged)


def _write_rendering(material: Material, staged: Path) -> None:
    tokenizer = load_tokenizer(material.source)
    template = plain_template(tokenizer, material.template)
    if template is not None:
        _set_template(template, staged)
    # Other software stops where the generation configuration says, and an answer ends as it did in training.
    ends = create_renderer(tokenizer, material.template).identity.end_of_turn_ids
    if (staged / _GENERATION).exists():
        _change(staged / _GENERATION, lambda config: _add_ends(config, ends))


def _set_template(template: str, staged: Path) -> None:
    (staged / "chat_template.jinja").write_text(template, encoding="utf-8")
    (staged / "chat_template.json").unlink(missing_ok=True)
    if (staged / "tokenizer_config.json").exists():
        _change(staged / "tokenizer_config.json", lambda config: config.pop("chat_template", None))


def _add_ends(config: dict[str, Any], ends: tuple[int, ...]) -> None:
    own = config.get("eos_token_id")
    known = own if isinstance(own, list) else [own] if own is not None else []
    together = list(dict.fromkeys([*known, *ends]))
    config["eos_token_id"] = together[0] if len(together) == 1 else together


def _change(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored_as(material: Material, dtype: MergedDType) -> str:
    if dtype != "stored":
        return dtype
    return str(material.merged.stored.dtype).removeprefix("torch.")
