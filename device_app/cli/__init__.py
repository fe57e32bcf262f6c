"""The command line: one file a verb, each of them parses, calls and prints."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from device_app.cli import (
    adapt,
    bench,
    dataset,
    doctor,
    evaluate,
    export,
    fleet,
    import_,
    jobs,
    label,
    log,
    merge,
    model,
    record,
    report,
    revert,
    transcribe,
    vector,
)
from editing.errors import AsrEdgeError

app = typer.Typer(
    name="asr-edge",
    help="Offline speech recognition that learns from its owner.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("transcribe")(transcribe.transcribe)
app.command("record")(record.record)
app.command("correct")(label.correct)
app.add_typer(label.app, name="label")
app.command("import")(import_.import_)
app.add_typer(dataset.app, name="dataset")
app.command("adapt")(adapt.adapt)
app.add_typer(jobs.app, name="jobs")
app.command("log")(log.log)
app.command("show")(log.show)
app.command("revert")(revert.revert)
app.command("remix")(revert.remix)
app.command("rollback")(revert.rollback)
app.command("merge")(merge.merge)
app.command("report")(report.report)
app.add_typer(vector.app, name="vector")
app.command("contribute")(fleet.contribute)
app.add_typer(fleet.app, name="fleet")
app.command("evaluate")(evaluate.evaluate)
app.command("bench")(bench.bench)
app.command("export")(export.export)
app.add_typer(model.app, name="model")
app.command("doctor")(doctor.doctor)

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"asr-edge {version('asr-edge')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


@cache
def application() -> typer.Typer:
    """All commands, those of other packages included: entry points of the group "asr_edge.commands"."""
    for point in entry_points(group="asr_edge.commands"):
        command = point.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(point.name)(command)
    return app


def main() -> None:
    """Runs the command line; what a user can mend becomes one line and exit code 1."""
    try:
        try:
            application()()
        finally:
            sys.stdout.flush()  # here, where a full disk can still be told
    except AsrEdgeError as error:
        sys.exit(f"asr-edge: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, "head" for instance, has had enough
        _forget_output()
        sys.exit(1)
    except OSError as error:
        _forget_output()
        sys.exit(f"asr-edge: {error.filename or 'standard output'}: {error.strerror}")


def _forget_output() -> None:
    """What could not be written must not be tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
