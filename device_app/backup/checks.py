"""Checks the content of an extracted backup before it is put in place, and counts what a data folder has."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from device_app.data.store.connection import DATABASE
from device_app.data.store.damage import check_journal
from device_app.data.store.snapshot import check_foreign_database, tidy_restored
from device_app.data.terms import read_term_list
from device_app.models.bundles import installed_bases
from device_app.models.ledger_files import SUFFIX, LedgerFiles
from device_app.models.ledger_record import DamagedRecordError, NewerRecordError
from device_app.remote.jobs import read_jobs
from device_app.remote.trusted_hosts import read_hosts
from editing.errors import AsrEdgeError, BadInputError, BundleError, StorageError
from editing.files import sha256
from editing.task_vector import summarise
from export.bundle import WEIGHTS, Bundle


@dataclass(frozen=True)
class Contents:
    """What a data folder has.

    Attributes:
        recordings: their number; None if the database cannot be read.
        edits: their number, of all models; None if a ledger cannot be read.
        missing_bases: base models that edits need and that are not installed, by the start of their hash.
    """

    recordings: int | None
    edits: int | None
    missing_bases: tuple[str, ...] = ()


def check_restored(folder: Path, name: str) -> None:
    """Checks an extracted backup as far as asr-edge will rely on it, and migrates its database.

    Args:
        folder: the folder with the extracted files, which match the manifest.
        name: name of the backup in error messages.

    Raises:
        BadInputError: a part of it is invalid.
        StorageError: a later version of asr-edge wrote a part of it.
    """
    database = folder / DATABASE
    if database.is_file():
        check_foreign_database(database, name)
    tidy_restored(folder)
    bundles = [_checked_bundle(path.parent, name) for path in (folder / "models").glob("*/model.json")]
    for ledger in sorted((folder / "ledgers").glob("*/")):
        _check_ledger(LedgerFiles(ledger), bundles, name)
    try:
        read_term_list(folder / "terms.json")
        read_hosts(folder / "hosts.json")
        read_jobs(folder / "jobs")
    except StorageError as error:
        raise _unusable(name, error) from error


def _unusable(name: str, error: Exception) -> BadInputError:
    return BadInputError(f"{name}: a part of it cannot be used, and nothing was changed: {error}")


def _checked_bundle(folder: Path, name: str) -> Bundle:
    try:
        bundle = Bundle.open(folder)
        bundle.check()
    except AsrEdgeError as error:
        raise _unusable(name, error) from error
    return bundle


def _check_ledger(files: LedgerFiles, restored: list[Bundle], name: str) -> None:
    try:
        found = files.read_ledger()
    except NewerRecordError as error:
        raise StorageError(
            f"{name}: its ledger was written by a later version of asr-edge ({error}); nothing was changed"
        ) from error
    except DamagedRecordError as error:
        raise _unusable(name, error) from error
    bases = [bundle for bundle in (*restored, *installed_bases()) if WEIGHTS in bundle.files]
    base = next((one for one in bases if found is not None and one.weights_hash == found[0].base), None)
    for path in files.vectors.glob("*"):
        if path.suffix != SUFFIX or sha256(path) != path.stem:
            raise BadInputError(f"{name}: the task vector {path.name} is damaged; nothing was changed")
        try:
            # Of the ledger's own base; a vector that no edit refers to may be of another one.
            base_of_vector = base if found is not None and path.stem in found[0].vectors else None
            summarise(
                path,
                base=None if base_of_vector is None else base_of_vector.weights_hash,
                shapes=None if base_of_vector is None else base_of_vector.shapes(),
                name="its task vector",
            )
        except AsrEdgeError as error:
            raise _unusable(name, error) from error


def contents_of(folder: Path) -> Contents:
    """Counts what a data folder has, without opening its store, so that nothing in it changes."""
    edits: int | None = 0
    bases: set[str] = set()
    for ledger in (folder / "ledgers").glob("*/"):
        try:
            found = LedgerFiles(ledger).read_ledger()
        except (DamagedRecordError, NewerRecordError, StorageError):
            edits = None
            continue
        if found is not None and edits is not None:
            edits += len(found[0].edits)
        if found is not None and found[0].edits:
            bases.add(found[0].base)
    own = set()
    for path in (folder / "models").glob("*/model.json"):
        with suppress(BundleError):  # a damaged model does not stop a restoration, which may bring it back
            own.add(Bundle.open(path.parent).weights_hash)
    missing = bases - own - {bundle.weights_hash for bundle in installed_bases()}
    return Contents(_recordings(folder / DATABASE), edits, tuple(sorted(base[:8] for base in missing)))


def _recordings(database: Path) -> int | None:
    if not database.is_file():
        return 0
    try:
        check_journal(database)
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as sql:
            return int(sql.execute("SELECT count(*) FROM utterance WHERE deleted = 0").fetchone()[0])
    except (sqlite3.Error, UnicodeDecodeError):
        return None
