"""Examines and repairs everything in the data folder: recordings, edits and baked files.

A damaged database file comes first (`data.repair.database`), because the store cannot be opened before it is repaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_app.data.repair.utterances import UNKNOWN, examine, refuse_if_most_are_missing
from device_app.data.repair.utterances import repair as repair_utterances
from device_app.data.store import Store
from device_app.finding import Finding, repair_all
from device_app.models.check import examine_models


@dataclass(frozen=True)
class Examination:
    """The findings of an examination.

    Attributes:
        store: faults of the store.
        models: faults and notices of the ledgers, task vectors and baked files.
        is_store_empty: whether the database has no utterances.
    """

    store: Sequence[Finding]
    models: Sequence[Finding]
    is_store_empty: bool

    @property
    def findings(self) -> list[Finding]:
        return [*self.store, *self.models]

    @property
    def is_repairable(self) -> bool:
        """Whether there is anything that `repair` would change."""
        return bool(self.store) or any(one.repair is not None for one in self.models)

    @property
    def is_database_lost(self) -> bool:
        """Whether the database is empty although recordings exist, so that it was probably lost."""
        return self.is_store_empty and any(one.kind == UNKNOWN for one in self.store)


def examine_all(store: Store) -> Examination:
    """Examines the store and the models. Changes nothing.

    Raises:
        StorageError: the quarantine cannot be read.
        OSError: a recording cannot be read from the disk.
    """
    return Examination(examine(store), examine_models(), is_store_empty=not store.domains())


def check_repairable(store: Store, found: Examination) -> None:
    """Refuses a repair that would remove most recordings.

    Raises:
        StorageError: most recordings are missing, so that probably a disk is not mounted; nothing was changed.
    """
    refuse_if_most_are_missing(store, found.store)


def repair(store: Store, found: Examination, *, missing_is_gone: bool = False) -> None:
    """Repairs all that was found and can be repaired. Call `remaining_faults` afterwards.

    Args:
        store: the store that was examined.
        found: the result of `examine_all`.
        missing_is_gone: continue even if most recordings are missing.

    Raises:
        StorageError: most recordings are missing, and nothing was changed; or the store cannot be written.
    """
    repair_utterances(store, found.store, missing_is_gone=missing_is_gone)
    repair_all(found.models)


def remaining_faults() -> list[Finding]:
    """The faults of the models, examined again: a restored ledger may refer to other task vectors."""
    return faults(examine_models())


def faults(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that are not just notices."""
    return [one for one in findings if one.is_fault]
