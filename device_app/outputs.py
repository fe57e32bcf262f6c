"""Checks output paths before any work, so that a command never overwrites a file by accident."""

from __future__ import annotations

import os
from pathlib import Path

from device_app.paths import data_folder
from editing.errors import BadInputError
from editing.files import is_stream


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Checks that an output replaces no existing file and nothing in the data folder.

    An empty file may be replaced (`mktemp` makes one). A FIFO, a device and a descriptor such as
    /dev/stdout are always accepted, because writing to them replaces nothing.

    Args:
        path: a file that will be written; it need not exist.
        overwrite: an existing file may be replaced, unless it is in the data folder.

    Raises:
        BadInputError: it would replace one of them; nothing was changed.
        StorageError: it is of a kind that cannot be written.
    """
    if is_stream(path):
        return
    check_outside_data(path)
    if not overwrite and path.is_file() and path.stat().st_size:
        raise BadInputError(
            f"{path}: already exists; nothing was changed. Name another file, or replace it with --overwrite"
        )


def check_outside_data(path: Path) -> None:
    """Checks that an output path is not in the data folder, which only asr-edge itself changes.

    Raises:
        BadInputError: it is in the data folder, or is the data folder itself.
    """
    data = os.path.realpath(data_folder())
    real = os.path.realpath(path)
    if os.path.commonpath([data, real]) == data:
        raise BadInputError(
            f"{path}: is in asr-edge's own data folder {data}; nothing was changed. Name a path outside it"
        )
