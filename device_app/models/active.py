"""The model that this machine's owner uses: a base with its active edits."""

from __future__ import annotations

from device_app.models.bundles import find_bundle
from device_app.models.ledger import edited
from export.bundle import Bundle


def my_model(name: str | None = None, version: int | None = None) -> Bundle:
    """A model with everything that it has learnt on this machine.

    Args:
        name: of an installed model, or the folder of a bundle; None is the embedded model.
        version: its number in the ledger, 0 for the base; None is the active version.

    Raises:
        BundleError: there is no such model, or it is damaged.
        BadInputError: there is no such version.
        StorageError: the ledger cannot be read.
    """
    return edited(find_bundle(name), version)
