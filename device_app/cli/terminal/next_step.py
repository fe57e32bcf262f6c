"""Prints the next step at the end of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.judging import open_ledger

if TYPE_CHECKING:
    from device_app.data.store import Store


def tell_progress(store: Store, domain: str, model: str | None) -> None:
    """Prints how far a domain is from its next adaptation, and the next command, the same as `asr-edge status`.

    Args:
        store: the store with the recordings.
        domain: the domain.
        model: the value of `--model`.

    Raises:
        StorageError: the store or the ledger is damaged.
    """
    from device_app.status import domain_status, next_steps, progress

    found = domain_status(store, open_ledger(model), domain)
    options.tell(f"{progress(found)}. Next: {next_steps([found])[0].command}")
