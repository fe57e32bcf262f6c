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
    """The file of a contributed or merged vector on the host."""
    return folder / "fleet" / f"{vector}.safetensors"


def incoming_file(folder: Path, device: int) -> Path:
    """A new temporary file for an upload from a device."""
    return folder / "fleet" / "incoming" / f"{device}-{secrets.token_hex(8)}"


def accept_contribution(database: Database, folder: Path, device: Device, group: str, vector: str, path: Path) -> None:
    """Adds an uploaded vector to a group's contributions.

    Raises:
        BadInputError: its SHA-256 is not `vector`.
        TaskVectorError: it is not a task vector, its base is not installed here, or it does not fit that base.
    """
    if sha256(path) != vector:
        raise BadInputError("the uploaded bytes do not have the announced SHA-256")
    origin = read_origin(path, name=NAME)
    base = find_base(origin.base)
    if base is None:
        taken_from = one_line(origin.base[:8])
        raise TaskVectorError(f"{NAME}: taken from base {taken_from}, which is not installed on this host")
    try:
        shapes = base.shapes()
    except BundleError:
        raise TaskVectorError(
            f"{NAME}: its base {origin.base[:8]} is damaged on this host; contact its owner"
        ) from None
    check_file(path, origin.base, shapes, name=NAME)
    target = vector_file(folder, vector)
    path.replace(target)
    for old in database.contribute(device.id, group, origin.base, vector, {"scores": dict(origin.scores)}):
        vector_file(folder, old).unlink(missing_ok=True)
