"""asr-edge profile: several people on one machine."""

from __future__ import annotations

from typing import Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.printing import ask, echo, print_json

app = typer.Typer(help="Several people on one machine, each with their own recordings, terms and edits.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile.", autocompletion=completion.complete_profile)]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the profiles."""
    from device_app.profiles import profiles

    names = profiles()
    if as_json:
        print_json(names)
        return
    for name in names:
        echo(name)
    if not names:
        options.tell("There are no profiles. 'asr-edge profile add NAME' makes one.")


@app.command()
def add(name: Annotated[str, typer.Argument(metavar="NAME", help="The new profile, such as a first name.")]) -> None:
    """Make a profile."""
    from device_app.profiles import add_profile

    add_profile(name)
    echo(f"Made the profile {name!r}. Use it with 'asr-edge --profile {name} COMMAND', or set ASR_EDGE_PROFILE.")


@app.command()
def remove(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a profile with its recordings, terms and edits."""
    from device_app.profiles import profiles, remove_profile

    if name in profiles() and not yes:
        ask(f"Delete the profile {name!r} with all its recordings, terms and edits?", abort=True)
    remove_profile(name)
    echo(f"Deleted the profile {name!r}.")
