"""asr-edge vector: exports and imports task vectors as files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.judging import change_model, open_ledger
from device_app.cli.printing import echo, print_json

app = typer.Typer(help="Exchange task vectors as files.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A task vector, .safetensors.")]


@app.command()
def export(
    edit: Annotated[int, typer.Argument(metavar="N", help="An edit.", autocompletion=completion.complete_edit)],
    file: File,
    density: Annotated[float | None, options.density_option("the edit's")] = None,
    overwrite: options.Overwrite = False,
    model: options.Model = None,
) -> None:
    """Write an edit's task vector to a file: weight differences, no recordings, no texts."""
    from device_app.audio.sources import check_file_output
    from device_app.models.vector_export import vector_of_edit
    from editing.files import check_writable, is_stream, write_atomically

    check_file_output(file, overwrite=overwrite)
    check_writable(file, makes_folder=False)
    vector = vector_of_edit(open_ledger(model), edit, density)
    data = vector.to_bytes()
    write_atomically(file, data)
    # The file may be standard output, which must contain nothing else.
    echo(f"{file}: {len(data) / 1e6:.1f} MB, {vector.density:.0%} of the entries", err=is_stream(file))


@app.command("import")
def import_(
    file: File,
    lam: options.Lambda = None,
    method: options.Method = "ties",
    density: options.Density = None,
    others: options.Settings = None,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Merge a task vector from another machine, if it passes the gate; needs no torch.

    Exit code 3: the gate rejected it.
    """
    from device_app.adaptation.changes import merge_vectors

    settings = options.merge_settings(lam, density, method, others)
    gate = options.gate_policy(tolerance, force=force, dry_run=dry_run)
    ledger = open_ledger(model)
    settings.check(vectors=1, parameters=ledger.base.shapes())  # before anything is read
    vector = ledger.load(file)
    vectors, domain = {str(file): vector}, vector.origin.domain
    change_model(
        ledger,
        lambda store, context: merge_vectors(store, ledger, vectors, "import", settings, domain, gate, context),
        threads,
        as_json,
    )


@app.command()
def show(file: File, as_json: options.Json = False) -> None:
    """Show the metadata of a task vector's file."""
    from editing.errors import counted, one_line
    from editing.task_vector import summarise

    summary = summarise(file)
    record = {
        **asdict(summary.origin),
        "norm": summary.norm,
        "nonzero": summary.density,
        "layers": dict(summary.layers),
    }
    if as_json:
        print_json(record)
        return
    origin = summary.origin
    trained = f"{counted(origin.utterances, 'utterance')}, {origin.seconds / 60:.1f} min" if origin.utterances else ""
    lines = {
        **{name: value for name, value in record.items() if name not in ("layers", "scores", "utterances", "seconds")},
        "trained on": trained,
        "norm": f"{summary.norm:g}",
        "density": f"{origin.density:.0%}",
        "nonzero": f"{summary.density:.1%} of the entries",
        "WER": ", ".join(f"{name} {wer:.1%}" for name, wer in origin.scores.items()),
    }
    for name, value in lines.items():
        if value != "":
            echo(f"{name:12} {one_line(str(value))}")
