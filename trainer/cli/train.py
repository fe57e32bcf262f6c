"""asr-edge train: a base model from scratch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from device_app.cli.terminal import progress


def train(
    manifests: Annotated[list[Path], typer.Argument(metavar="MANIFEST...", help="JSON lines of recordings and texts.")],
    out: Annotated[Path, typer.Option(help="The bundle to make: a new folder.")],
    config: Annotated[
        Literal["small", "paper"], typer.Option(help="small: 6 million parameters, for two CPU cores; paper: 28.")
    ] = "small",
    vocabulary: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Write N pieces of words. [default: characters]")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, order and variation.")] = 0,
    as_json: options.Json = False,
) -> None:
    """Train a base model from nothing but recordings and their texts.

    Lines whose split is "test" are left out, those of "dev" tell how it goes. If it is killed, the
    same command goes on.
    """

    from device_app.adaptation.local_training import need_torch
    from device_app.data.manifest import read_manifest
    from device_app.outputs import check_outside_data

    need_torch()
    check_outside_data(out)
    from trainer.training.from_scratch import SETTINGS
    from trainer.training.from_scratch import train as run

    entries = [entry for manifest in manifests for entry in read_manifest(manifest)]
    with progress.finetuning_progress() as show:
        tuned = run(
            [entry for entry in entries if entry.split not in ("test", "dev")],
            [entry for entry in entries if entry.split == "dev"],
            config,
            out,
            replace(SETTINGS, epochs=epochs, seed=seed),
            vocabulary=vocabulary,
            on_start=lambda training, held_out: options.tell(
                f"Learning from {training} utterances, {held_out} held out ..."
            ),
            on_step=lambda at: show(at.step, at.steps, at.epoch, at.loss),
        )
    if as_json:
        record = {
            "bundle": str(out),
            "losses": list(tuned.losses),
            "held_out": list(tuned.held_out),
            "seconds": tuned.seconds,
            "audio_s": tuned.audio_s,
        }
        print_json(record)
    else:
        echo(f"{out}: trained in {tuned.seconds / 60:.0f} min, loss {tuned.losses[-1]:.2f} a token")
        options.tell(f"Hear with it: asr-edge transcribe --model {out} FILE")
