"""asr-edge model: lists and installs models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json

app = typer.Typer(help="List and install models.", no_args_is_help=True)


@app.command("list")
def list_models(as_json: options.Json = False) -> None:
    """Show the models that --model accepts by name."""
    from device_app.models.bundles import installed, model_names

    names, bundles = model_names(), installed()
    if as_json:
        records = [
            {
                "name": name,
                "family": b.family,
                "licence": b.licence,
                "origin": b.origin,
                "folder": str(b.folder),
            }
            for name, b in zip(names, bundles, strict=True)
        ]
        print_json(records)
        return
    for name, bundle in zip(names, bundles, strict=True):
        echo(f"{name:16}  {bundle.family}, {bundle.licence}; {bundle.origin}")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="moonshine-tiny: the fp32 checkpoint of the embedded model.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="A checkpoint that is downloaded already."),
    ] = None,
) -> None:
    """Download a model from the Hugging Face hub and install it."""
    from device_app.models.bundles import models_folder
    from device_app.models.moonshine_checkpoint import fetch, install
    from editing.errors import BadInputError

    if Path(name).name != name or name in ("", ".", "..", "embedded"):
        raise BadInputError(f"{name!r} cannot be a model's name")
    if (models_folder() / name).exists():
        raise BadInputError(
            f"{name}: already installed in {models_folder() / name}; delete that folder to pull it again"
        )
    if source is None:
        options.tell(f"Downloading {name} ...")
    bundle = install(name, source if source is not None else fetch(name))
    echo(f"{bundle.name} is installed; use it with --model {name}")
