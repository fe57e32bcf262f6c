"""asr-edge convert: converts a CTC model of transformers into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo


def convert(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|NAME", help="The model's folder, or its name on the Hugging Face hub.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name.", show_default="the model folder's name")] = None,
) -> None:
    """Convert a CTC model of transformers into a bundle: wav2vec2, HuBERT, WavLM, Parakeet.

    A name that is not a folder is downloaded from the Hugging Face hub; nothing is uploaded.
    """
    from device_app.adaptation.local_training import need_torch
    from device_app.outputs import check_outside_data

    need_torch()
    check_outside_data(out)
    from trainer.convert.ctc import convert_ctc

    bundle = convert_ctc(source, out, name)
    echo(f"{out}: {bundle.name}, {bundle.family}")
    options.tell(f"Transcribe with it: asr-edge transcribe --model {out} FILE")
