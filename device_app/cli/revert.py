"""asr-edge revert, reweight and rollback: remove an edit, change its lambda, or return to the previous version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from device_app.cli import completion, options
from device_app.cli.judging import change_model, open_ledger
from device_app.cli.printing import echo
from device_app.cli.terminal.outcome import edits_in_words
from editing.errors import StorageError

if TYPE_CHECKING:
    from device_app.models.ledger import Edit, Ledger

Id = Annotated[
    int,
    typer.Argument(
        metavar="N", help="An edit, as 'asr-edge log' numbers them.", autocompletion=completion.complete_edit
    ),
]
UNCHANGED = "unchanged"


def revert(edit: Id, model: options.Model = None) -> None:
    """Remove an edit from the model, not only the last one; other edits stay active."""
    from device_app.adaptation import changes
    from device_app.adaptation.retired_terms import restore_terms

    ledger = open_ledger(model)
    with ledger.changing():
        version = changes.revert(ledger, edit)
        restored = restore_terms(ledger, options.tell)
    restoring = "it cannot be restored without its task vector, which 'asr-edge doctor' looks for"
    if _has_vectors(ledger, ledger.edit(edit)):
        restoring = f"'asr-edge reweight {edit}' restores it"
    echo(f"Edit {edit} is reverted; {restoring}. Active: {edits_in_words(version)}.")
    merged = ledger.previous().parts([edit], ledger.edits)
    if parts := [str(part.id) for part in merged if _has_vectors(ledger, part)]:
        echo(f"It was a merge. 'asr-edge reweight N' adds one of its parts alone: {', '.join(parts)}.")
    _tell_of_terms(restored)


def _has_vectors(ledger: Ledger, edit: Edit) -> bool:
    """Whether the task vectors of an edit are there and intact."""
    try:
        for digest in edit.vectors:
            ledger.vector(digest)
    except StorageError:
        return False
    return True


def rollback(model: options.Model = None) -> None:
    """Undo the last change of the model; again, to undo the one before it."""
    from device_app.adaptation import changes
    from device_app.adaptation.retired_terms import restore_terms

    ledger = open_ledger(model)
    with ledger.changing():
        replaced = ledger.current
        version = changes.roll_back(ledger)
        restored = restore_terms(ledger, options.tell)
    echo(f"Undone: {replaced.why}. Active: {edits_in_words(version)}.")
    _tell_of_terms(restored)


def _tell_of_terms(restored: Sequence[str]) -> None:
    if restored:
        options.tell(f"Back on the list of terms: {', '.join(restored)}")


def reweight(
    edit: Id,
    lam: Annotated[str | None, options.lambda_option(UNCHANGED)] = None,
    density: Annotated[float | None, options.density_option(UNCHANGED)] = None,
    others: options.Settings = None,
    tolerance: options.Tolerance = options.DEFAULT_TOLERANCE,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    model: options.Model = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Change an edit's lambda or density, or restore a reverted edit, without fine-tuning.

    Exit code 3: the gate rejected it.
    """
    from device_app.adaptation.changes import reweight

    ledger = open_ledger(model)
    settings = options.merge_settings(lam, density, ledger.edit(edit).method, others).settings
    gate = options.gate_policy(tolerance, force=force, dry_run=dry_run)
    change_model(
        ledger, lambda store, context: reweight(store, ledger, edit, settings, gate, context), threads, as_json
    )
