"""asr-edge convert: a CTC model of transformers becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo


def convert(
    source: Annotated[str, typer.Argument(metavar="FOLDER|NAME", help="A model's folder, or its name on the hub.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new folder.")],
    name: Annotated[str | None, typer.Option(help="Of the bundle. [default: the folder's]")] = None,
) -> None:
    """Make a bundle of any CTC model of transformers: wav2vec2, HuBERT, WavLM, Parakeet.

    A name that is no folder is fetched from the Hugging Face hub; nothing is sent there.
    """
    from device_app.adaptation.local_training import need_torch
    from device_app.outputs import check_outside_data

    need_torch()
    check_outside_data(out)
    from trainer.convert.ctc import convert_ctc

    bundle = convert_ctc(source, out, name)
    echo(f"{out}: {bundle.name}, {bundle.family}")
    options.tell(f"Hear with it: asr-edge transcribe --model {out} FILE")
