"""asr-edge model: lists and installs models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.printing import ask, echo, print_json

if TYPE_CHECKING:
    from export.bundle import Bundle

app = typer.Typer(help="List, install and choose models.", no_args_is_help=True)


@app.command("list")
def list_models(
    show_fits: Annotated[
        bool, typer.Option("--fits", help="Estimate speed and memory of each model on this machine.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show the models that --model accepts by name; with --fits, also what this machine could run."""
    from device_app.models.bundles import installed, model_in_use

    found, damaged = installed()
    in_use = model_in_use()
    for error in damaged:
        options.tell(f"! {error}")
    if show_fits:
        _print_fits(found, as_json)
        return
    if as_json:
        records = [
            {
                "name": name,
                "family": b.family,
                "language": b.language,
                "licence": b.licence,
                "origin": b.origin,
                "folder": str(b.folder),
                "in_use": name == in_use,
            }
            for name, b in found.items()
        ]
        print_json(records)
        return
    for name, bundle in found.items():
        mark = "in use; " if name == in_use else ""
        echo(f"{name:16}  {mark}{bundle.family}, {bundle.language}, {bundle.licence}; {bundle.origin}")


def _print_fits(installed: dict[str, Bundle], as_json: bool) -> None:
    from dataclasses import asdict

    from device_app.cli.terminal.table import print_table
    from device_app.evaluation.fits import ADAPTATION_RECORDINGS, fits

    options.tell("Estimates from the speed of the embedded model, which is measured once:")
    found = fits(installed)
    if as_json:
        print_json([asdict(fit) for fit in found])
        return
    rows = [
        (
            fit.name,
            "yes" if fit.is_installed else "",
            f"{fit.rtf:.3f}",
            f"{fit.memory_mb:.0f} MB",
            f"{fit.adaptation_s / 60:.1f} min, {fit.adaptation_gb:.1f} GB",
            fit.published.removesuffix(" WER"),
        )
        for fit in found
    ]
    head = ("model", "installed", "real-time factor", "memory", "adaptation", "published WER")
    print_table([head, *rows], right={2, 3})
    options.tell(
        f"An adaptation: fine-tuning on {ADAPTATION_RECORDINGS} short recordings. A real-time factor below 1 keeps up "
        "with speech."
    )
    options.tell("Published WER: mean over the English sets of the Open ASR leaderboard, by the authors of the model.")
    options.tell(
        "'asr-edge model pull NAME' installs a Moonshine model, 'asr-edge convert FOLDER' a downloaded Whisper model."
    )


@app.command()
def use(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            help="An installed model, or the folder of a bundle; embedded is the one that comes with asr-edge.",
            autocompletion=completion.complete_model,
        ),
    ],
) -> None:
    """Choose the model of all commands without --model. Each model keeps its own edits."""
    from device_app.models import bundles

    bundle = bundles.use(model)
    echo(f"{bundle.name} ({bundle.language}) is in use; its edits are its own: see 'asr-edge log'")


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="moonshine-tiny, moonshine-base, moonshine-tiny-ja ..., or OWNER/NAME on the hub; with --from, the "
            "name that it gets.",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="A checkpoint that is downloaded already."),
    ] = None,
    language: options.Language = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence without a question.")] = False,
) -> None:
    """Install a Moonshine model from the Hugging Face hub or a folder, after showing its licence and language."""
    from device_app.models.moonshine_checkpoint import describe, install

    model = describe(name, source)
    card = model.card
    spoken = model.card.language(language)
    licence = " ".join(filter(None, (card.licence or "unknown", card.link)))
    options.tell(f"{model.source}: language {spoken}, licence {licence}")
    if not card.languages and language is None:
        options.tell(f"It does not say its language; {spoken} is assumed. If it has another one, pass --language.")
    if not card.is_free:
        options.tell("It is not known that this licence allows every use. Read it before you use the model.")
    if not yes:
        ask("Install this model?", abort=True)
    if model.is_on_hub:
        options.tell(f"Downloading {model.source} ...")
    bundle = install(model, spoken)
    echo(f"{bundle.name} is installed; use it with --model {bundle.name}, or always: asr-edge model use {bundle.name}")
