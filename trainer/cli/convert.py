"""asr-edge convert: converts a model of transformers into a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo
from device_app.extras import need_packages


def convert(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|NAME", help="The model's folder, or its name on the Hugging Face hub.")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder.")],
    name: Annotated[str | None, typer.Option(help="The bundle's name.", show_default="the model folder's name")] = None,
    language: options.Language = None,
) -> None:
    """Convert a speech model of transformers into a bundle; docs/models.md lists the architectures.

    A name that is not a folder is downloaded from the Hugging Face hub; nothing is uploaded.
    """
    from device_app.outputs import check_outside_data

    need_packages("train")
    check_outside_data(out)
    from trainer.convert import convert as convert_model

    bundle = convert_model(source, out, name, language)
    echo(f"{out}: {bundle.name}, {bundle.family}, {bundle.language}, {bundle.licence}")
    options.tell(f"Transcribe with it: asr-edge transcribe --model {out} FILE")
