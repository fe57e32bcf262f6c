"""asr-edge export: a folder of ONNX files that runs anywhere ONNX Runtime does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo


def export(
    out: Annotated[Path, typer.Option(help="The folder to write; it must be new or empty.")],
    precision: Annotated[options.PrecisionName, typer.Option(help="int8 is smaller and faster, fp32 exact.")] = "int8",
    layout: Annotated[
        Literal["asr-edge", "nemo"],
        typer.Option(help="asr-edge: a bundle for --model; nemo: a CTC model for onnx-asr and sherpa-onnx."),
    ] = "asr-edge",
    version: options.Version = None,
    model: options.Model = None,
) -> None:
    """Write the model as ONNX files with tokenizer and licence, to use elsewhere."""
    from device_app.models.bundles import find_bundle
    from device_app.models.export import export_bundle, export_nemo
    from device_app.models.ledger import edited
    from device_app.outputs import check_outside_data

    check_outside_data(out)
    write = export_nemo if layout == "nemo" else export_bundle
    write(edited(find_bundle(model), version), precision, out)
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        echo(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
