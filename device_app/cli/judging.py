"""Helpers of commands that change the model without fine-tuning: lock the ledger, run the gate, print the outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal.outcome import report_outcome
from device_app.cli.terminal.reporter import terminal_context

if TYPE_CHECKING:
    from device_app.adaptation.decision import Outcome
    from device_app.data.store import Store
    from device_app.execution import ExecutionContext
    from device_app.models.ledger import Ledger
    from editing.task_vector import TaskVector


def open_ledger(model: str | None) -> Ledger:
    """The ledger of the model that `--model` names."""
    from device_app.models.bundles import find_bundle
    from device_app.models.ledger import Ledger

    return Ledger(find_bundle(model))


def tell_of_repetitions(ledger: Ledger, vectors: Mapping[str, TaskVector], replaced: Sequence[int] = ()) -> None:
    """Warns of task vectors that would be applied twice; as `repeated_finetunings`."""
    from device_app.adaptation.changes import repeated_finetunings

    for repeated in repeated_finetunings(ledger, vectors, replaced):
        options.tell(f"! {repeated}. It counts twice if both are applied.")


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
    from device_app.data.store import Store

    with Store() as store, ledger.changing():
        active = ledger.current.id
        try:
            outcome = change(store, terminal_context(threads))
        except KeyboardInterrupt:
            if ledger.current.id == active:
                options.tell("Interrupted; nothing was changed.")
            raise
    report_outcome(outcome, as_json)
