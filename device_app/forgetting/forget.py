"""Deletes recordings and the edits trained on them; lists first what would be deleted, and which copies remain."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_app.backup.restore import kept_folders
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.terms import TermList, stored_terms
from device_app.forgetting import ledgers
from device_app.models.baking import abandoned_candidates
from device_app.models.ledger_files import LedgerFiles
from device_app.models.ledger_record import Edit, Record
from device_app.paths import data_folder
from device_app.profiles import profiles
from device_app.remote.jobs import jobs, remove_abandoned
from editing.errors import BadInputError, counted

TERM_FILES = ("terms.json", "term-usage.json")
PAGE_TASK = "service/task.json"  # of `device_app.service.page.tasks.state`


@dataclass(frozen=True)
class Selection:
    """What to forget: everything, one speaker, or one domain; exactly one of them is set.

    Attributes:
        everything: all recordings, edits and terms.
        speaker: a speaker's name.
        domain: the name of a domain of recordings or of edits.
    """

    everything: bool = False
    speaker: str | None = None
    domain: str | None = None

    def __post_init__(self) -> None:
        if sum((self.everything, self.speaker is not None, self.domain is not None)) != 1:
            raise BadInputError("name one of --everything, --speaker NAME and --domain NAME; nothing was changed")


@dataclass(frozen=True)
class Plan:
    """What `forget` will remove.

    Attributes:
        selection: what to forget.
        recordings: numbers of the utterances.
        domains: the domains of which edits go.
        edits: edits that go, by the folder of their ledger.
        dependent: edits that stay although they may have been trained on top of one that goes, by the same folders.
        no_longer_used: edits that stay, but that the active version has only as a part of a merge that goes, by the
            same folders.
        untouched: known copies elsewhere, which stay, one line each.
        terms, replacements: how many entries of the list of terms go.
    """

    selection: Selection
    recordings: Sequence[int]
    domains: Sequence[str]
    edits: Mapping[Path, Sequence[Edit]]
    dependent: Mapping[Path, Sequence[Edit]]
    no_longer_used: Mapping[Path, Sequence[Edit]]
    untouched: Sequence[str]
    terms: int = 0
    replacements: int = 0


def plan(store: Store, selection: Selection) -> Plan:
    """Finds what to remove; changes nothing.

    An edit is found by its domain: of a speaker's recordings it is not recorded which edit used which.

    Raises:
        BadInputError: there is no such speaker or domain, the domain is the guard set, or a host is training on its
            recordings.
        StorageError: a ledger is damaged.
    """
    if selection.domain == GUARD_SET:
        raise BadInputError(
            f"{GUARD_SET!r} is your own guard set, which no edit was trained on; nothing was changed. "
            "'asr-edge guard remove' deletes recordings of it"
        )
    read = {files: ledgers.read_record(files) for files in _ledgers()}
    found = {files: record for files, record in read.items() if record is not None}
    records = {files.folder: record for files, record in found.items()}
    recordings, domains = _recordings(store, selection)
    edits = {files.folder: ledgers.edits_of(files, record, domains) for files, record in found.items()}
    if selection.domain is not None and not recordings and not any(edits.values()):
        raise BadInputError(f"there are no recordings and no edits of a domain {selection.domain!r}")
    if selection.everything:
        edits = {folder: list(record.edits) for folder, record in records.items()}
    _refuse_running_jobs(store, selection, recordings, edits)
    dependent = {folder: ledgers.trained_later(record, edits[folder]) for folder, record in records.items()}
    no_longer_used = {folder: ledgers.merged_into(record, edits[folder]) for folder, record in records.items()}
    listed = stored_terms() if selection.everything else TermList()
    return Plan(
        selection,
        recordings,
        domains,
        edits,
        dependent,
        no_longer_used,
        [*_untouched(), *_imported(records, domains, edits), *_other_recordings(store, selection)],
        len(listed.terms),
        len(listed.replacements),
    )


def _recordings(store: Store, selection: Selection) -> tuple[list[int], list[str]]:
    """The utterances to delete, and the domains that may have been trained on them."""
    if selection.everything:
        return [one.number for one in store.utterances()], store.domains()
    if selection.domain is not None:
        is_known = store.has_domain(selection.domain)
        found = [one.number for one in store.utterances(selection.domain)] if is_known else []
        return found, [selection.domain]
    store.count_of(selection.speaker or "")  # raises if there is no such speaker
    chosen = [store.get(number) for number in store.of_speaker(selection.speaker or "")]
    domains = dict.fromkeys(one.domain for one in chosen if one.split == "train")
    return [one.number for one in chosen], list(domains)


def _refuse_running_jobs(
    store: Store, selection: Selection, recordings: Sequence[int], edits: Mapping[Path, Sequence[Edit]]
) -> None:
    """Refuses if a host, and the archive of its job on this device, may have what is to be forgotten.

    Of a job it is not recorded which recordings of its domain were sent (held-out ones only with --send-held-out), nor
    which ones of other domains (--replay).

    Raises:
        BadInputError: there is such a job.
    """
    domains = {store.get(number).domain for number in recordings}
    domains |= set() if selection.domain is None else {selection.domain}
    vectors = {digest for of_model in edits.values() for edit in of_model for digest in edit.vectors}
    for job in jobs():
        is_replay = job.settings.replay > 0 and bool(recordings)
        if selection.everything or job.settings.domain in domains or is_replay or job.vectors & vectors:
            what = "recordings" if job.settings.domain in domains or is_replay else "edits"
            raise BadInputError(
                f"{job.url} may have {what} that would be forgotten, for a fine-tuning on {job.settings.domain}; "
                f"nothing was forgotten. 'asr-edge jobs cancel {job.key[:8]}' deletes them there; then try again"
            )


def _untouched() -> list[str]:
    kept = [f"{folder}, which a restore has replaced" for folder in kept_folders(data_folder())]
    return [
        *kept,
        "backups, and recordings or task vectors that you exported or that were imported from elsewhere",
        "task vectors that were sent to a host, and what other devices made of them",
    ]


def _imported(
    records: Mapping[Path, Record], domains: Sequence[str], forgotten: Mapping[Path, Sequence[Edit]]
) -> list[str]:
    """Edits of domains that stay, because they came from files: others may call their domains the same."""
    return [
        f"edit {edit.id} ({edit.domain}), imported from a file, "
        + (
            "and in use. 'asr-edge revert' with its new number in 'asr-edge log' takes it out of use"
            if record.versions[record.current].how_applied(edit.id)
            else "but not in use"
        )
        for folder, record in records.items()
        for edit in record.edits
        if edit.kind == "import" and {*edit.domains} & {*domains} and edit not in forgotten[folder]
    ]


def _other_recordings(store: Store, selection: Selection) -> list[str]:
    """Recordings on this machine that the selection does not cover: those of other profiles, and the guard set."""
    lines = []
    if selection.everything and (names := profiles()):
        lines.append(f"what belongs to the profiles {', '.join(names)} ('asr-edge --profile NAME forget')")
    own = sum(stats.utterances for stats in store.stats() if stats.domain == GUARD_SET)
    if selection.domain is not None and own:
        lines.append(f"{counted(own, 'recording')} of your own guard set ('asr-edge guard list')")
    return lines


def forget(store: Store, planned: Plan) -> None:
    """Removes edits first and recordings last, so that after a kill the same command finds and finishes the rest.

    Raises:
        BlockedError: another process is changing a model.
        StorageError: a file cannot be deleted or written.
    """
    selection = planned.selection
    for files in _ledgers():
        if selection.everything:
            ledgers.erase_all(files)
        else:
            hidden = [selection.domain] if selection.domain is not None else []
            ledgers.erase(files, planned.domains, hidden)
    _remove_derived()
    remove_abandoned()
    if selection.everything:
        for name in TERM_FILES:
            (data_folder() / name).unlink(missing_ok=True)
        shutil.rmtree(data_folder() / "terms-cache", ignore_errors=True)
        store.delete_everything()
    elif selection.speaker is not None:
        store.forget(selection.speaker)
    elif planned.recordings:
        store.delete(planned.recordings)


def _ledgers() -> Iterator[LedgerFiles]:
    return (LedgerFiles(folder) for folder in sorted((data_folder() / "ledgers").glob("*/")))


def _remove_derived() -> None:
    """Removes what was made of recordings and edits, and is made again when needed.

    These are baked files, checkpoints of fine-tunings, and the last task of the page, which names a domain.
    """
    for folder in (*(data_folder() / "baked").glob("*/"), *abandoned_candidates()):
        shutil.rmtree(folder, ignore_errors=True)
    for path in (*(data_folder() / "training").glob("*"), data_folder() / PAGE_TASK):
        path.unlink(missing_ok=True)
