"""Exports the task vector of an edit for other machines."""

from __future__ import annotations

from dataclasses import replace

from device_app.models.ledger import Ledger
from editing.errors import BadInputError
from editing.sparsify import DENSITY
from editing.task_vector import TaskVector


def vector_of_edit(ledger: Ledger, edit: int, density: float | None = None) -> TaskVector:
    """Returns the task vector of an edit, trimmed.

    Args:
        ledger: the ledger of the model.
        edit: the number of the edit.
        density: the fraction of entries to keep; None for that in the active version, or, if the edit is not active,
            when it was made.

    Raises:
        BadInputError: there is no such edit, it is a merge of several vectors, or the density is out of range.
        StorageError: the file of the vector is missing or damaged.
    """
    found = ledger.edit(edit)
    if len(found.vectors) != 1:
        raise BadInputError(f"edit {edit} is a merge of several vectors; export those vectors instead")
    vector = ledger.vector(found.vectors[0])
    if density is not None:
        DENSITY.check("density", density)
    kept = density if density is not None else float(ledger.effect(found).settings.get("density", 1.0))
    if kept >= 1:
        return vector
    origin = replace(vector.origin, method="trim", density=kept, scores=dict(found.after))
    return replace(vector.trimmed(kept), origin=origin)
