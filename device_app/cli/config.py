"""asr-edge config: the settings file, and what it sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from device_app.cli import options
from device_app.cli.printing import echo, print_json
from editing.errors import BadInputError

EXAMPLE = """\
# Options of commands, by their long names. An option on the command line comes first.
[transcribe]
beam = 1
save = true
"""


def config(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the settings file, which sets options of commands once for all, and check it."""
    from device_app.settings_file import read_settings, settings_file

    path, found = settings_file(), read_settings()
    if as_json:
        print_json({"file": str(path), "settings": found})
        return
    echo(f"Settings file: {path}")
    if not found:
        echo("It does not exist yet, or is empty. For example:")
        for line in EXAMPLE.splitlines():
            echo(f"  {line}")
        return
    for line in path.read_text("utf-8").splitlines():
        echo(f"  {line}")
    root = context.find_root()
    if isinstance(root.command, TyperGroup):
        default_map(root.command, context)


def default_map(root: TyperGroup, context: typer.Context) -> dict[str, Any]:
    """The settings file as the defaults of commands: for each command, values by the name of the parameter.

    Args:
        root: the application.
        context: its context.

    Raises:
        BadInputError: the file names an unknown command or option, or a value does not fit.
    """
    from device_app.settings_file import read_settings, settings_file

    found = read_settings()
    return _defaults(root, context, found, f"{settings_file()}:") if found else {}


def _defaults(group: TyperGroup, context: typer.Context, table: Mapping[str, Any], place: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for name, values in table.items():
        command = group.get_command(context, name)
        if command is None or not isinstance(values, Mapping):
            raise BadInputError(f"{place} {name!r} is not a command; a table is named after a command")
        if isinstance(command, TyperGroup):
            defaults[name] = _defaults(command, context, values, f"{place} {name}")
        elif isinstance(command, TyperCommand):
            defaults[name] = _values(command, context, values, f"{place} {name}")
    return defaults


def _values(command: TyperCommand, context: typer.Context, values: Mapping[str, Any], place: str) -> dict[str, Any]:
    parameters = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, TyperOption)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in parameters or name == "help":
            raise BadInputError(f"{place} has no option --{name}; 'asr-edge {command.name} --help' lists them")
        parameter = parameters[name]
        if isinstance(value, bool) != bool(parameter.is_flag):
            wanted = "true or false" if parameter.is_flag else "a value, not true or false"
            raise BadInputError(f"{place} --{name} is {value!r}; expected {wanted}")
        try:
            parameter.process_value(context, value)
        except (typer.BadParameter, TypeError, ValueError) as error:
            raise BadInputError(f"{place} --{name}: {getattr(error, 'message', error)}") from error
        found[str(parameter.name)] = value
    return found
