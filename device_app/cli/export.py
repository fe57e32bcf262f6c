"""asr-edge export: a folder of ONNX files that runs anywhere ONNX Runtime does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options


def export(
    out: Annotated[Path, typer.Option(help="The folder to make; it must be new or empty.")],
    precision: Annotated[options.PrecisionName, typer.Option(help="int8 is small and fast, fp32 exact.")] = "int8",
    version: options.Version = None,
    model: options.Model = None,
) -> None:
    """Write the model as ONNX files with tokenizer and licence: a bundle that --model takes."""
    from device_app.exporting import export_bundle
    from device_app.ledger import edited
    from device_app.models import find_bundle

    exported = export_bundle(edited(find_bundle(model), version), precision, out)
    for name in exported.files:
        typer.echo(f"{(exported.folder / name).stat().st_size / 1e6:8.2f} MB  {exported.folder / name}")
