"""The command line: one module per command, which parses, calls and prints."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from device_app.cli import (
    adapt,
    backup,
    bench,
    completion,
    config,
    dataset,
    doctor,
    evaluate,
    export,
    fleet,
    forget,
    guard,
    import_,
    jobs,
    label,
    log,
    merge,
    model,
    open_,
    profile,
    record,
    report,
    revert,
    serve,
    status,
    terms,
    transcribe,
    type_,
    vector,
)
from device_app.cli.option_errors import PlainErrors
from device_app.cli.printing import echo, name_profile, prepare_streams
from device_app.paths import PROFILE_VARIABLE, data_folder
from device_app.program_version import program_version
from editing.errors import AsrEdgeError

app = typer.Typer(
    name="asr-edge",
    cls=PlainErrors,
    help="Offline speech recognition that adapts to its owner.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS: Mapping[str, Mapping[str, typer.Typer | Callable[..., None]]] = {
    "Speech to text": {
        "transcribe": transcribe.transcribe,
        "type": type_.type_,
        "terms": terms.app,
        "evaluate": evaluate.evaluate,
        "bench": bench.bench,
        "open": open_.open_,
        "serve": serve.serve,
        "service": serve.app,
    },
    "Recordings": {
        "record": record.record,
        "import": import_.import_,
        "correct": label.correct,
        "label": label.app,
        "dataset": dataset.app,
        "doctor": doctor.doctor,
        "backup": backup.backup,
        "restore": backup.restore,
        "forget": forget.forget,
        "profile": profile.app,
        "config": config.config,
    },
    "Adaptation and its edits": {
        "status": status.status,
        "adapt": adapt.adapt,
        "log": log.log,
        "show": log.show,
        "report": report.report,
        "revert": revert.revert,
        "reweight": revert.reweight,
        "rollback": revert.rollback,
        "merge": merge.merge,
        "guard": guard.app,
    },
    "Models and other machines": {
        "export": export.export,
        "model": model.app,
        "vector": vector.app,
        "jobs": jobs.app,
        "contribute": fleet.contribute,
        "fleet": fleet.app,
    },
}
MORE = "Own models, hosts and experiments"  # commands of other packages, which need extras

MIN_BOX_COLUMNS = 60  # below, the boxes of the help would cut off names of options
HELP = {"-h", "--help"}
INTERRUPTED = 130  # 128 + SIGINT: the exit code that shells use


def _print_version(wanted: bool) -> None:
    if wanted:
        echo(f"asr-edge {program_version()}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    profile_name: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            envvar=PROFILE_VARIABLE,
            help="Whose recordings, terms and edits to use; see 'asr-edge profile'.",
            autocompletion=completion.complete_profile,
        ),
    ] = None,
) -> None:
    is_chosen = profile_name is not None and profile_name != os.environ.get(PROFILE_VARIABLE)  # by the option
    of_profile = [name for commands in PANELS.values() for name in commands if name != "profile"]
    name_profile(profile_name if profile_name and is_chosen else "", of_profile)
    if profile_name is not None and is_chosen:
        before = os.environ.get(PROFILE_VARIABLE)
        os.environ[PROFILE_VARIABLE] = profile_name
        context.call_on_close(lambda: _restore(PROFILE_VARIABLE, before))
        if context.invoked_subcommand != "profile":
            data_folder()  # reports an unknown profile before anything else
    # A mistake in the settings file must not hide the help, nor the commands that show it or choose a profile.
    needs_settings = context.invoked_subcommand not in (None, "config", "profile") and not HELP & set(sys.argv)
    if needs_settings and isinstance(context.command, TyperGroup):
        context.default_map = config.default_map(context.command, context)
    if context.invoked_subcommand is None:
        status.status()


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


@cache
def application() -> typer.Typer:
    """All commands, including those of other packages (entry points of the group "asr_edge.commands")."""
    if (columns := shutil.get_terminal_size().columns) < MIN_BOX_COLUMNS:
        app.rich_markup_mode = None
        app.info.context_settings = {**(app.info.context_settings or {}), "terminal_width": columns}
    plugins = {point.name: point.load() for point in entry_points(group="asr_edge.commands")}
    for panel, commands in {**PANELS, MORE: plugins}.items():
        for name, command in commands.items():
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=name, rich_help_panel=panel)
            else:
                app.command(name, rich_help_panel=panel)(command)
    return app


def main() -> None:
    """Runs the command line. An error that the user can fix is printed as one line, with exit code 1."""
    prepare_streams()
    os.environ.setdefault("NO_COLOR", "1")  # for rich and typer: few colours are readable on dark and on light
    try:
        try:
            application()()
        finally:
            sys.stdout.flush()  # here, so that a full disk is still reported
    except AsrEdgeError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader, for instance "head", has closed the pipe
        _discard_output()
        sys.exit(1)
    except OSError as error:
        _discard_output()
        remedy = "; free some space and try again" if error.errno == errno.ENOSPC else ""
        _exit_with(f"{error.filename or 'standard output'}: {error.strerror or error}{remedy}")


def _exit_with(message: str) -> NoReturn:
    echo(f"asr-edge: {message}", err=True)
    sys.exit(1)


def _discard_output() -> None:
    """Keeps Python from trying at exit to write again what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
