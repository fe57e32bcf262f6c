"""asr-edge config: the settings file, and what it sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from device_app.cli import options
from device_app.cli.option_errors import reworded
from device_app.cli.printing import echo, print_json
from editing.errors import BadInputError

EXAMPLE = """\
# Options of commands, by their long names. An option on the command line comes first.
[transcribe]
beam = 1
save = true
"""


def config(context: typer.Context, as_json: options.Json = False) -> None:
    """Show the settings file, which sets default options of commands, and check it."""
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
    mistakes = read_defaults(root.command, context)[1] if isinstance(root.command, TyperGroup) else []
    for mistake in mistakes:
        options.tell(f"asr-edge: {mistake}")
    if mistakes:
        raise typer.Exit(1)


def default_map(root: TyperGroup, context: typer.Context) -> dict[str, Any]:
    """The settings file as the defaults of commands: for each command, values by the name of the parameter.

    Args:
        root: the application.
        context: its context.

    Raises:
        BadInputError: the file names an unknown command or option, or a value does not fit.
    """
    defaults, mistakes = read_defaults(root, context)
    if mistakes:
        others = f" ('asr-edge config' shows {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise BadInputError(f"{mistakes[0]}{others}")
    return defaults


def read_defaults(root: TyperGroup, context: typer.Context) -> tuple[dict[str, Any], list[str]]:
    """As `default_map`, but returns all mistakes of the file beside the defaults that are right.

    Raises:
        BadInputError: the file cannot be read at all.
    """
    from device_app.settings_file import read_settings, settings_file

    mistakes: list[str] = []
    found = read_settings()
    return (_defaults(root, context, found, f"{settings_file()}:", mistakes) if found else {}), mistakes


def _defaults(
    group: TyperGroup, context: typer.Context, table: Mapping[str, Any], location: str, mistakes: list[str]
) -> dict[str, Any]:
    """The defaults of the commands of a group; adds what is wrong to `mistakes`.

    Args:
        group: the application, or a command with subcommands.
        context: for typer's checks.
        table: the group's table in the file.
        location: file and group, for the mistakes.
        mistakes: messages.
    """
    defaults: dict[str, Any] = {}
    for name, values in table.items():
        command = group.get_command(context, name)
        if command is None or not isinstance(values, Mapping):
            mistakes.append(f"{location} {name!r} is not a command; a table is named after a command")
        elif isinstance(command, TyperGroup):
            defaults[name] = _defaults(command, context, values, f"{location} {name}", mistakes)
        elif isinstance(command, TyperCommand):
            defaults[name] = _values(command, context, values, f"{location} {name}", mistakes)
    return defaults


def _values(
    command: TyperCommand, context: typer.Context, values: Mapping[str, Any], location: str, mistakes: list[str]
) -> dict[str, Any]:
    """The defaults of one command, by the name of the parameter; adds what is wrong to `mistakes`.

    Arguments as for `_defaults`; `values` are by the long name of the option, without the hyphens.
    """
    parameters = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, TyperOption)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    found: dict[str, Any] = {}
    for name, value in values.items():
        try:
            if name not in parameters or name == "help":
                raise BadInputError(f"{location} has no option --{name}; 'asr-edge {command.name} --help' lists them")
            _check_value(parameters[name], context, value, f"{location} --{name}")
            if any(parameters[name] is parameters[other] for other in found):
                raise BadInputError(f"{location} --{name}: the same option is set twice, by two names")
            found[name] = value
        except BadInputError as error:
            mistakes.append(str(error))
    if {"lambda", "density", "method", "set"} & parameters.keys():
        try:
            _check_merge(found, location, takes_method="method" in parameters, is_adapt=command.name == "adapt")
        except BadInputError as error:
            mistakes.append(str(error))
    return {
        str(parameters[name].name): not value if f"--{name}" in parameters[name].secondary_opts else value
        for name, value in found.items()
    }


def _check_value(parameter: TyperOption, context: typer.Context, value: Any, location: str) -> None:
    """
    Raises:
        BadInputError: the option does not take this value.
    """
    if isinstance(value, bool) != bool(parameter.is_flag):
        wanted = "true or false" if parameter.is_flag else "a value, not true or false"
        raise BadInputError(f"{location} is {value!r}; expected {wanted}")
    # Typer would take a list or a table as the text that Python shows of it.
    if parameter.multiple and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise BadInputError(f'{location} is {value!r}; expected a list of texts, such as ["one", "two"]')
    if not parameter.multiple and isinstance(value, list | dict):
        raise BadInputError(f"{location} is {value!r}; expected a text or a number")
    try:
        parameter.process_value(context, value)
    except (typer.BadParameter, TypeError, ValueError) as error:
        raise BadInputError(f"{location}: {reworded(str(getattr(error, 'message', error)))}") from error


def _check_merge(values: Mapping[str, Any], location: str, *, takes_method: bool, is_adapt: bool) -> None:
    """Checks the options of a merge, which typer cannot check, because their ranges depend on the method.

    Args:
        values: options of a command that have passed `_check_value`.
        location: file and command, for error messages.
        takes_method: whether the command has --method; the ranges of --lambda and --density are the same for all.
        is_adapt: whether the command is `adapt`, which alone takes "auto" and refuses a negative lambda.

    Raises:
        BadInputError: a value is out of range.
    """
    lam, density, method, pairs = (values.get(name) for name in ("lambda", "density", "method", "set"))
    if not takes_method or method is None:  # the settings in --set belong to a method that is not known yet
        method, pairs = "ties", None
    try:
        options.parse_merge_settings(
            None if lam is None else str(lam),
            density,
            str(method),
            pairs,
            allows_negative=not is_adapt,
            allows_auto=is_adapt,
        )
    except BadInputError as error:
        raise BadInputError(f"{location}: {error}") from error
