"""Task vectors that devices contribute to a group: how the host checks and stores them."""

from __future__ import annotations

import secrets
from pathlib import Path

from device_app.models.bundles import find_base
from editing.errors import BadInputError, BundleError, TaskVectorError, one_line
from editing.files import sha256
from editing.task_vector import check_file, read_origin
from trainer.host.database import Database, Device

NAME = "the task vector"  # used in errors in place of its path on the host


def vector_file(folder: Path, vector: str) -> Path:
    """The file of a contributed or merged vector on the host.

    Args:
        folder: the host's folder.
        vector: SHA-256 of the file, by which the host names a vector.
    """
    return folder / "fleet" / f"{vector}.safetensors"


def incoming_file(folder: Path, device: int) -> Path:
    """A new temporary file in the host's folder for an upload from a device.

    Args:
        folder: the host's folder.
        device: the device's id; 0 for a file that the host writes itself.
    """
    return folder / "fleet" / "incoming" / f"{device}-{secrets.token_hex(8)}"


def accept_contribution(database: Database, folder: Path, device: Device, group: str, vector: str, path: Path) -> None:
    """Adds an uploaded vector to a group's contributions; removes the vector that it replaces.

    Args:
        database: the host's database.
        folder: the host's folder.
        device: the device that contributes.
        group: the device's group.
        vector: the announced SHA-256 of the file.
        path: the uploaded file, which is moved.

    Raises:
        BadInputError: its SHA-256 is not `vector`.
        TaskVectorError: it is not a task vector, its base is not installed here, or it does not fit that base.
    """
    if sha256(path) != vector:
        raise BadInputError("the uploaded bytes do not have the announced SHA-256")
    origin = read_origin(path, name=NAME)
    base = find_base(origin.base)
    if base is None:
        raise TaskVectorError(
            f"{NAME}: taken from base {one_line(origin.base[:8])}, which is not installed on this host"
        )
    try:
        shapes = base.shapes()
    except BundleError:
        raise TaskVectorError(
            f"{NAME}: its base {origin.base[:8]} is damaged on this host; contact its owner"
        ) from None
    check_file(path, origin.base, shapes, name=NAME)
    path.replace(vector_file(folder, vector))
    for old in database.contribute(device.id, group, origin.base, vector, {"scores": dict(origin.scores)}):
        vector_file(folder, old).unlink(missing_ok=True)
