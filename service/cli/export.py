"""`lorad adapters export` as a whole model."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer

from service.cli.catalog import Catalog
from service.cli.console import say
from service.errors import SettingsError
from service.settings import Settings

MergedDType = Literal["stored", "float32", "bfloat16", "float16"]
GgufDType = Literal["f32", "f16", "q8_0"]

ExportDType = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Of the weights. merged: stored (as the base has them, the default), float32, bfloat16 or float16; "
        "gguf: f32, f16 (the default) or q8_0.",
    ),
]


def export_model(
    catalog: Catalog,
    reference: str,
    output: Path,
    format_: Literal["merged", "gguf"],
    dtype: str | None,
    chosen: Settings,
) -> dict[str, Any]:
    """Fetch the adapter, merge it into the base of the settings, and write and check the result.

    Raises:
        ExportError: it cannot be written, or does not answer as the adapter; nothing is left behind.
    """
    choices = get_args(MergedDType if format_ == "merged" else GgufDType)
    if dtype is not None and dtype not in choices:
        raise typer.BadParameter(f"--dtype {dtype}: with --format {format_} it is one of {', '.join(choices)}")
    if output.exists():
        raise SettingsError(f"--output {output} exists; name another or remove it")
    # torch is loaded here and not sooner: listing adapters must not wait for it.
    from base.source import locate
    from service.export.gguf.export import export_gguf
    from service.export.material import open_material
    from service.export.merged import export_merged

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adapter"
        catalog.export(reference, folder)
        material = open_material(folder, reference, locate(chosen.base_model, chosen.bases, say))
        if format_ == "merged":
            parity = export_merged(material, output, cast(MergedDType, dtype or "stored"), chosen.device, say)
        else:
            parity = export_gguf(material, output, cast(GgufDType, dtype or "f16"), chosen.device, say)
    return {
        "output": str(output), "format": format_, **material.provenance, **parity.to_json(), "summary": str(parity),
    }  # fmt: skip
