"""Finds damage in the store's database, and rebuilds it from readable rows and the recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from device_app.data.repair.utterances import RECOVERED
from device_app.data.store import Store, damage
from device_app.data.store.connection import DATABASE
from device_app.data.store.quarantine import Quarantine
from device_app.data.store.salvage import readable_records
from device_app.finding import Finding


def examine_database(folder: Path) -> list[Finding]:
    """Checks the whole database of the store in a folder with SQLite. Changes nothing.

    After the repair, `device_app.data.repair.utterances.examine` finds the recordings and restores their utterances.

    Raises:
        StorageError: it cannot be opened for another reason than damage.
    """
    path = folder / DATABASE
    try:
        with Store(folder) as store:
            problems = store.damage()
    except damage.DamagedDatabaseError as error:
        problems = [error.reason]
    if not problems:
        return []
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    copies = [f", and {copy.name} is a copy of it from before an update" for copy in damage.copies_of(path)]
    remedy = (
        f"put a backup in their place if you have one{''.join(copies)}; otherwise they and the readable utterances go "
        "into the quarantine until something is deleted, and a new database takes up the recordings"
    )
    return [Finding("damaged databases", f"{path}: {problems[0]}{more}", remedy, partial(rebuild, folder))]


def rebuild(folder: Path) -> None:
    """Moves a damaged database into the quarantine; the store creates a new one when it is opened.

    Readable utterances become records of the quarantine, from which the recordings get their texts back.

    Raises:
        StorageError: the quarantine cannot be written, or another process is using the database, which is unchanged.
    """
    if not examine_database(folder):  # a backup has replaced it in the meantime
        return
    path, quarantine = folder / DATABASE, Quarantine(folder)
    damage.copy_to_quarantine(path, quarantine.folder)
    records = readable_records(path, RECOVERED)
    quarantine.add(records, "the database was damaged")
    damage.remove(path)
    path.touch(0o600)  # a missing database beside recordings would count as damage again
