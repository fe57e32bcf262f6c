"""asr-edge train: trains a base model from scratch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal import progress
from device_app.extras import need_packages
from editing.errors import counted


def train(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests of recordings and transcripts (JSON lines).")
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write: a new folder.")],
    config: Annotated[
        Literal["small", "paper"],
        typer.Option(help="small: 6 million parameters, for two CPU cores; paper: 28 million, as in arXiv 2406.17935."),
    ] = "small",
    vocabulary: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Use N subword units (BPE).", show_default="characters")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=10_000, help="Passes over the training data.")] = 30,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Random seed of weights, order and augmentation.")
    ] = 0,
    as_json: options.Json = False,
) -> None:
    """Train a base model from recordings and transcripts.

    The split "test" is not used; "dev" is for validation, or else a tenth of the utterances, at most 100. After an
    interruption, the same command resumes.
    """

    from device_app.data.manifest import read_manifest
    from device_app.outputs import check_outside_data

    need_packages("train")
    check_outside_data(out)
    from trainer.training.from_scratch import SETTINGS
    from trainer.training.from_scratch import train as run

    settings = replace(SETTINGS, epochs=epochs, seed=seed)
    utterances = [one for manifest in manifests for one in read_manifest(manifest)]
    with progress.finetuning_progress() as show:
        tuned = run(
            [one for one in utterances if one.split not in ("test", "dev")],
            [one for one in utterances if one.split == "dev"],
            config,
            out,
            settings,
            vocabulary=vocabulary,
            on_start=lambda training, validation: options.tell(
                f"Training on {counted(training, 'utterance')}, validating on {validation} ..."
            ),
            on_step=lambda at: show(at.step, at.steps, at.epoch, at.loss),
        )
    if as_json:
        record = {
            "bundle": str(out),
            "training_losses": list(tuned.training_losses),
            "validation_losses": list(tuned.validation_losses),
            "seconds": tuned.seconds,
            "audio_s": tuned.audio_s,
        }
        print_json(record)
    else:
        echo(f"{out}: trained in {tuned.seconds / 60:.0f} min, training loss {tuned.training_losses[-1]:.2f} per token")
        options.tell(f"Transcribe with it: asr-edge transcribe --model {out} FILE")
