"""The adapted model of this machine: a base with its active edits."""

from __future__ import annotations

from pathlib import Path

from device_app.models.bundles import find_bundle
from device_app.models.ledger import edited
from editing.ranges import Range
from export.bundle import Bundle

VERSIONS = Range(0, 1_000_000, is_whole=True)  # a check of the type; the ledger knows which versions there are


def my_model(name: str | Path | None = None, version: int | None = None) -> Bundle:
    """Opens a model with its active edits on this machine.

    Args:
        name: name of an installed model, or folder of a bundle; None is the model in use (`asr-edge model use`).
        version: number of the version in the ledger, 0 for the base; None is the active version.

    Raises:
        BundleError: there is no such model, or it is damaged.
        BadInputError: there is no such version, or it is not a whole number.
        StorageError: the ledger cannot be read.
    """
    if version is not None:
        VERSIONS.check("version", version)
    return edited(find_bundle(name), version)
