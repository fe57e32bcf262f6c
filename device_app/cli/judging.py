"""Helpers of commands that change the model without fine-tuning: lock the ledger, run the gate, print the outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal.outcome import report_outcome
from device_app.cli.terminal.reporter import terminal_context

if TYPE_CHECKING:
    from device_app.adaptation.decision import Outcome
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from device_app.models.ledger import Ledger


def open_ledger(model: str | None) -> Ledger:
    """The ledger of the model that `--model` names."""
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    return Ledger(find_bundle(model))


def change_model(
    ledger: Ledger, change: Callable[[Store, ExecutionContext], Outcome], threads: int | None, as_json: bool
) -> None:
    """Calls `change` with the ledger locked, and prints the outcome.

    Args:
        ledger: the ledger of the model.
        change: builds a version and submits it to the gate.
        threads: the value of `--threads`.
        as_json: print one JSON document.

    Raises:
        typer.Exit: the gate rejected the version.
    """
    from device_app.adaptation.changes import repeated_finetunings
    from device_app.data.store import Store

    with Store() as store, ledger.changing():
        active = ledger.current.id
        try:
            outcome = change(store, terminal_context(threads))
        except KeyboardInterrupt:
            if ledger.current.id == active:
                options.tell("Interrupted; nothing was changed.")
            raise
        repeated = repeated_finetunings(ledger, ledger.current) if outcome.promoted else []
    for pair in repeated:
        options.tell(f"! {pair}: its effect is applied twice. 'asr-edge revert' removes one of them.")
    report_outcome(outcome, as_json)
