"""asr-edge backup and restore: the recordings, edits and settings of this machine in one file, and back."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import options
from device_app.cli.printing import ask, echo, print_json
from device_app.cli.terminal.progress import progress
from editing.errors import counted

if TYPE_CHECKING:
    from device_app.backup.checks import Contents
    from device_app.backup.restore import Prepared


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
) -> None:
    """Write recordings, edits, terms, trusted hosts and installed models into one file.

    Other commands may run meanwhile. Keep the file as private as your recordings.
    """
    from device_app.audio.sources import check_file_output
    from device_app.backup.create import back_up, size_of_data
    from editing.errors import BadInputError
    from editing.files import check_writable, is_stream

    check_file_output(file, overwrite=overwrite)
    if is_stream(file):
        raise BadInputError(f"{file}: a backup is written only to a regular file; nothing was changed")
    check_writable(file, makes_folder=False)
    with progress("backing up", size_of_data()) as advance:
        found = back_up(file, advance)
    if as_json:
        print_json({"file": str(file), **asdict(found)})
        return
    echo(f"{file}: {found.size / 1e6:.1f} MB, {_counted(found.recordings, found.edits)}")
    for line in found.left_out:
        options.tell(f"Not in it: {line}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that 'asr-edge backup' wrote.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.Json = False,
) -> None:
    """Replace recordings, edits and settings by those of a backup, after checking all of it.

    The replaced data folder is kept beside the new one.
    """
    from device_app.backup.restore import prepared

    size = file.stat().st_size if file.is_file() else 0
    with ExitStack() as stack:
        with progress("checking the backup", size) as advance:
            found = stack.enter_context(prepared(file, advance))
        if found.replaced is not None and not yes and not ask(_question(found)):
            raise typer.Exit(1)
        kept = found.put_in_place()
    if as_json:
        print_json(
            {
                "folder": str(found.target),
                "kept": None if kept is None else str(kept),
                "created": found.manifest.created,
                **asdict(found.contents),
                "left_out": list(found.manifest.left_out),
            }
        )
        return
    echo(f"{found.target}: {_contents_text(found.contents)}, from {found.manifest.created}")
    if kept is not None:
        options.tell(f"What was there before is in {kept}; delete that folder when you need none of it.")
    for line in found.manifest.left_out:
        options.tell(f"Was not in the backup: {line}")
    for base in found.contents.missing_bases:
        options.tell(f"The model {base}, to which edits belong, is not installed; they have no effect until it is.")


def _question(found: Prepared) -> str:
    before = "nothing" if found.replaced is None else _contents_text(found.replaced)
    return (
        f"Replace what is in {found.target} ({before}) by the backup of {found.manifest.created} "
        f"({_contents_text(found.contents)})?"
    )


def _contents_text(contents: Contents) -> str:
    """What a data folder has, in words."""
    if contents.recordings is None or contents.edits is None:
        return "damaged"
    return _counted(contents.recordings, contents.edits)


def _counted(recordings: int, edits: int) -> str:
    return f"{counted(recordings, 'recording')}, {counted(edits, 'edit')}"
