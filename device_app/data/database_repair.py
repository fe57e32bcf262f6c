"""A damaged database of the store: found, shown, and rebuilt from what can be read and from the recordings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from device_app.data.repair import RECOVERED
from device_app.data.store import Store, damage
from device_app.data.store.quarantine import Quarantine
from device_app.data.store.salvage import readable_records
from device_app.finding import Finding

DATABASE = "store.sqlite3"


def examine_database(folder: Path) -> list[Finding]:
    """Lets SQLite check the whole database of the store in a folder. Changes nothing.

    After mending, `device_app.data.repair.examine` finds the recordings, and puts their utterances back.

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
        f"put a backup in their place if you have one{''.join(copies)}; or else they go into the quarantine until "
        "something is deleted, what can be read of the utterances too, and a new database takes up the recordings"
    )
    return [Finding("damaged databases", f"{path}: {problems[0]}{more}", remedy, partial(rebuild, folder))]


def rebuild(folder: Path) -> None:
    """Puts a damaged database into the quarantine; the next one to open the store makes a new one.

    What can be read of its utterances becomes records of the quarantine, so that the recordings get their texts back.

    Raises:
        StorageError: the quarantine cannot be written; the database is as it was.
    """
    if not examine_database(folder):  # a backup has been put there in the meantime
        return
    path, quarantine = folder / DATABASE, Quarantine(folder)
    damage.copy_aside(path, quarantine.folder)
    records = readable_records(path, RECOVERED)
    quarantine.add(records, "the database was damaged")
    damage.remove(path)
