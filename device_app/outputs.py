"""What every output that a person names must pass before any work, so that no file of theirs is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from device_app.paths import data_folder
from editing.errors import BadInputError
from editing.files import is_stream, refuse_overwriting


def check_output(path: Path, inputs: Iterable[Path] = (), *, overwrite: bool = False) -> None:
    """An output must not replace an input, a file that is there, or anything of the data folder.

    An empty file may be replaced (`mktemp` makes one). A FIFO, a device and a descriptor such as
    /dev/stdout hold nothing; they are written to.

    Args:
        path: a file that will be written; it need not exist.
        inputs: files that the command reads.
        overwrite: a file that is there may be replaced, unless it is an input or in the data folder.

    Raises:
        BadInputError: it would; nothing was changed.
        StorageError: it is of a kind that cannot be written.
    """
    refuse_overwriting([path], inputs)
    if is_stream(path):
        return
    check_outside_data(path)
    if not overwrite and path.is_file() and path.stat().st_size:
        raise BadInputError(
            f"{path}: is there already; nothing was changed. Name another file, or replace it with --overwrite"
        )


def check_outside_data(path: Path) -> None:
    """A file or folder that a person names must not be in the data folder, which asr-edge alone changes.

    Raises:
        BadInputError: it is, or it is the data folder itself.
    """
    data = os.path.realpath(data_folder())
    real = os.path.realpath(path)
    if os.path.commonpath([data, real]) == data:
        raise BadInputError(
            f"{path}: is in asr-edge's own data folder {data}; nothing was changed. Name a place outside it"
        )
