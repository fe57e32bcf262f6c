"""Task vectors that devices give to a group: how they come in, and where the host stores them."""

from __future__ import annotations

import secrets
from pathlib import Path

from device_app.models.bundles import find_base
from editing.errors import BadInputError, BundleError, TaskVectorError, one_line
from editing.files import sha256
from editing.task_vector import check_file, read_origin
from trainer.host.database import Database, Device

NAME = "the task vector"  # in errors; where it is on the host is nobody's business


def file_of(folder: Path, vector: str) -> Path:
    """Where a host keeps a contributed or merged vector."""
    return folder / "fleet" / f"{vector}.safetensors"


def incoming(folder: Path, device: int) -> Path:
    """A new place for what a device is sending."""
    return folder / "fleet" / "incoming" / f"{device}-{secrets.token_hex(8)}"


def receive(database: Database, folder: Path, device: Device, group: str, vector: str, path: Path) -> None:
    """Takes a vector into a group.

    Raises:
        BadInputError: it has other bytes than its name says, is no task vector, or does not fit a base that is
            installed here.
    """
    if sha256(path) != vector:
        raise BadInputError("the bytes are not those that were announced")
    origin = read_origin(path, name=NAME)
    base = find_base(origin.base)
    if base is None:
        taken_from = one_line(origin.base[:8])
        raise TaskVectorError(f"{NAME}: taken from base {taken_from}, which is not installed on this host")
    try:
        shapes = base.shapes()
    except BundleError:
        raise TaskVectorError(f"{NAME}: its base {origin.base[:8]} is damaged on this host; tell its owner") from None
    check_file(path, origin.base, shapes, name=NAME)
    target = file_of(folder, vector)
    path.replace(target)
    for old in database.contribute(device.id, group, origin.base, vector, {"scores": dict(origin.scores)}):
        file_of(folder, old).unlink(missing_ok=True)
