"""Prints the next step at the end of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from device_app.cli import options

if TYPE_CHECKING:
    from device_app.data.store import Store
    from device_app.models.ledger import Ledger


def progress_of(store: Store, ledger: Ledger, domain: str) -> Callable[[int], str]:
    """How far a domain will be from its next adaptation, by its number of labelled recordings.

    Raises:
        StorageError: the store or the ledger is damaged.
    """
    from device_app.status import domain_progress, domain_status

    found = domain_status(store, ledger, domain)
    return lambda labelled: domain_progress(
        replace(found, labelled=labelled, new=max(0, found.new + labelled - found.labelled))
    )


def tell_progress(store: Store, ledger: Ledger, domain: str) -> None:
    """Prints how far a domain is from its next adaptation, and the next command, the same as `asr-edge status`.

    Args:
        store: the store with the recordings.
        ledger: the ledger of the model.
        domain: the domain.

    Raises:
        StorageError: the store or the ledger is damaged.
    """
    from device_app.status import domain_progress, domain_status, next_steps

    found = domain_status(store, ledger, domain)
    options.tell(f"{domain_progress(found)}. Next: {next_steps([found])[0].command}")
