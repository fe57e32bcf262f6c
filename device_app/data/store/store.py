"""The public interface of the store of utterances."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device_app.data.names import GUARD_SET, checked_label, checked_name, checked_text, refuse_guard_set
from device_app.data.store import damage, deletion, reattachment, reserve, splits
from device_app.data.store.connection import Connection
from device_app.data.store.migrations import schema_problem
from device_app.data.store.quarantine import Quarantine
from device_app.data.store.queries import Queries
from device_app.data.store.reattachment import new_file_name
from device_app.data.utterance import Split, StoredUtterance, Utterance
from device_app.paths import data_folder
from editing.errors import BadInputError
from editing.files import write_all_atomically


class Store(Queries):
    """The utterances on this machine. Each thread and each process needs an object of its own.

    Only the owner can read the folder. As a context manager it closes itself. If the database is damaged or in use, or
    the disk prevents its use, an error of SQLite becomes a StorageError that names the remedy; others are not changed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Opens the store in a folder (by default the data folder), or creates it.

        Raises:
            StorageError: it cannot be opened or written, is damaged, or was written by a later version of asr-edge.
        """
        super().__init__(Connection(folder or data_folder()))
        try:
            with self._connection.opening():
                if self._connection.was_migrated and not self._connection.is_audio_missing():
                    deletion.remove_marked(self._connection)
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        """The folder of the store."""
        return self._connection.folder

    @property
    def path(self) -> Path:
        """The path of the database."""
        return self._connection.path

    @property
    def audio_folder(self) -> Path:
        """The folder of the recordings."""
        return self._connection.audio_folder

    @property
    def quarantine(self) -> Quarantine:
        """Utterances and audio that were removed from the store."""
        return self._connection.quarantine

    def close(self) -> None:
        self._connection.sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(value, sqlite3.Error):
            self._connection.raise_storage_error(value, "used", f"the recordings in {self.audio_folder} are untouched")

    def damage(self) -> list[str]:
        """Lists the damage of the database, one line per problem.

        Raises:
            sqlite3.Error: it cannot be read for another reason than damage.
        """
        if problem := schema_problem(self.path):
            return [problem]
        problems = damage.damage_of(self._connection.sql)
        try:
            for _ in self.utterances():
                pass
            self.stats()
            if self._connection.sql.execute("SELECT 1 FROM utterance WHERE deleted NOT IN (0, 1)").fetchone():
                problems.append("rows of utterance have a value of deleted other than 0 and 1")
        except sqlite3.Error as error:
            if not damage.is_damage(error):
                raise
            problems.append(str(error))
        return problems

    # Adding

    def add(self, new: Sequence[Utterance]) -> list[StoredUtterance]:
        """Stores utterances durably: when it returns, they survive a power cut.

        Returns:
            The stored utterances. A recording that its domain already has, or that occurs twice, is left
            out; `find` returns the stored one.

        Raises:
            BadInputError: the name of a domain or speaker is invalid (see `checked_name`).
            StorageError: the disk is full or cannot be written, or the recordings are missing; none of
                them was stored.
        """
        for utterance in new:
            if utterance.domain != GUARD_SET or not utterance.is_held_out:  # nothing is trained on the guard set
                checked_name(utterance.domain, "domain")
            if utterance.speaker is not None:
                checked_name(utterance.speaker, "speaker")
        # Files are written in the transaction of their rows. So audio without a row never belongs to another
        # running process, and an utterance that another process has just added is not added twice.
        with self._connection.transaction():
            self._connection.prepare_audio_folder()
            first: dict[tuple[str, str], Utterance] = {}
            for one in new:
                first.setdefault((one.domain, one.recorded.sha256), one)
            fresh = [one for (domain, sha256), one in first.items() if not self.holds(domain, sha256)]
            names = [new_file_name() for _ in fresh]
            paths = [self.audio_folder / name for name in names]
            write_all_atomically({path: u.recorded.flac for path, u in zip(paths, fresh, strict=True)})
            try:
                chosen = splits.splits_of(self._connection, fresh)
                numbers = [self._insert(u, name, split) for u, name, split in zip(fresh, names, chosen, strict=True)]
            except BaseException:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise
        reserve.ensure(self.folder)
        return [self.get(number) for number in numbers]

    def _insert(self, new: Utterance, file: str, split: Split) -> int:
        recording = new.recorded
        cursor = self._connection.sql.execute(
            """
            INSERT INTO utterance (domain_id, speaker_id, text, source, split, file, sha256, created,
                                   duration_s, level_dbfs, peak_dbfs, clipped, hypothesis, confidence,
                                   prompt, snr_db)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            (
                self._connection.ensured_id("domain", new.domain),
                None if new.speaker is None else self._connection.ensured_id("speaker", new.speaker),
                None if new.text is None else checked_text(new.text),
                new.source,
                split,
                file,
                recording.sha256,
                datetime.now(UTC).isoformat(timespec="milliseconds"),
                recording.duration_s,
                recording.level_dbfs,
                recording.peak_dbfs,
                recording.clipped,
                new.hypothesis,
                new.confidence,
                new.prompt,
                recording.snr_db,
            ),
        )
        if split == "test":
            splits.remember_tested(self._connection, recording.sha256)
        return int(cursor.lastrowid or 0)

    # Splitting

    def split_speakers(self, domain: str, speakers: Collection[str]) -> None:
        """Decides which of these speakers are held out, before their utterances are added in batches.

        The decision needs all speakers of a corpus, and a batch may have only one.

        Raises:
            BadInputError: a name is invalid (see `checked_name`).
        """
        checked_name(domain, "domain")
        for name in speakers:
            checked_name(name, "speaker")
        with self._connection.transaction():
            splits.split_speakers(self._connection, domain, speakers)

    def hold_out(self, domain: str, minimum: int) -> None:
        """Holds out labelled utterances permanently, until `minimum` of them are held out.

        The caller must know that none of them was used for training. If whole speakers are held out,
        nothing changes. At least half of the utterances stay in the training split.

        Raises:
            BadInputError: there is no such domain.
        """
        splits.hold_out(self._connection, domain, [u for u in self.utterances(domain) if u.text is not None], minimum)

    # Changing

    def set_text(self, number: int, text: str, domain: str | None = None) -> StoredUtterance:
        """Labels an utterance. If the text differs from its hypothesis, the utterance counts as corrected.

        Args:
            number: of the utterance.
            text: what is said in it.
            domain: also moves it into this domain, in the same transaction; by default it stays in its own.

        Raises:
            BadInputError: there is no such utterance, the text is invalid (see `checked_label`), or `move` fails.
        """
        before = self.get(number)
        text = checked_label(text)
        source = before.source if before.hypothesis in (None, text) else "corrected"
        if domain is not None:
            checked_name(domain, "domain")
        with self._connection.transaction():
            if domain is not None:
                self._move([before], domain)
            self._connection.sql.execute(
                "UPDATE utterance SET text = ?, source = ? WHERE id = ?", (text, source, number)
            )
        return self.get(number)

    def rename(self, domain: str, name: str) -> None:
        """Gives a domain another name.

        Raises:
            BadInputError: there is no such domain, it is the guard set, or one of the new name exists.
        """
        refuse_guard_set(domain)
        values = checked_name(name, "domain"), self._connection.existing_id("domain", domain)
        try:
            with self._connection.transaction():
                self._connection.sql.execute("UPDATE domain SET name = ? WHERE id = ?", values)
        except sqlite3.IntegrityError:
            raise BadInputError(
                f"there is a domain {name!r} already; 'asr-edge dataset move' puts utterances into it"
            ) from None

    def move(self, numbers: Sequence[int], domain: str) -> None:
        """Moves utterances into another domain, which is created if there is none; each keeps its split.

        Raises:
            BadInputError: one does not exist or is in the guard set, or the domain has its recording; none is moved.
        """
        checked_name(domain, "domain")
        moving = [self.get(number) for number in numbers]
        with self._connection.transaction():
            self._move(moving, domain)

    def _move(self, utterances: Sequence[StoredUtterance], domain: str) -> None:
        target = self._connection.ensured_id("domain", domain)
        for utterance in utterances:
            refuse_guard_set(utterance.domain)
            same = self.find(domain, utterance.sha256)
            if same is not None and same.number != utterance.number:
                raise BadInputError(
                    f"utterance {utterance.number}: {domain!r} has the same recording as utterance "
                    f"{same.number}; nothing was changed. Delete one of them"
                )
            self._connection.sql.execute("UPDATE utterance SET domain_id = ? WHERE id = ?", (target, utterance.number))

    def replace(self, stored: StoredUtterance, new: Utterance) -> StoredUtterance:
        """Replaces the audio of an utterance, its measurements, text, hypothesis and confidence by those of `new`.

        Its number, domain, speaker, source, prompt, split and time of creation stay.

        Raises:
            BadInputError: the text is invalid (see `checked_text`), or another utterance of the domain has the
                same recording.
            StorageError: the disk is full or cannot be written; the utterance is unchanged.
        """
        name, recording = new_file_name(), new.recorded
        text = None if new.text is None else checked_text(new.text)
        with self._connection.transaction():
            self._connection.prepare_audio_folder()
            same = self.find(stored.domain, recording.sha256)
            if same is not None and same.number != stored.number:
                raise BadInputError(
                    f"utterance {stored.number}: its domain has the same recording as utterance {same.number}; "
                    "nothing was changed"
                )
            write_all_atomically({self.audio_folder / name: recording.flac})
            self._connection.sql.execute(
                """
                UPDATE utterance
                SET file = ?, sha256 = ?, duration_s = ?, level_dbfs = ?, peak_dbfs = ?, clipped = ?,
                    text = ?, hypothesis = ?, confidence = ?, snr_db = ?
                WHERE id = ?
                """,
                (
                    *(name, recording.sha256, recording.duration_s, recording.level_dbfs, recording.peak_dbfs),
                    *(recording.clipped, text, new.hypothesis, new.confidence, recording.snr_db, stored.number),
                ),
            )
            if stored.split == "test":
                splits.remember_tested(self._connection, recording.sha256)
        stored.audio.unlink(missing_ok=True)
        return self.get(stored.number)

    def set_hypothesis(self, number: int, hypothesis: str, confidence: float) -> StoredUtterance:
        """Stores the latest hypothesis and its confidence, from 0 to 1; returns the utterance as it is now.

        A hypothesis with which the utterance's text was compared stays.

        Raises:
            BadInputError: there is no such utterance.
        """
        with self._connection.transaction():
            self._connection.sql.execute(
                """
                UPDATE utterance SET hypothesis = ?, confidence = ?
                WHERE id = ? AND (text IS NULL OR hypothesis IS NULL)
                """,
                (hypothesis, confidence, number),
            )
        return self.get(number)

    # Deleting

    def delete(self, numbers: Sequence[int]) -> None:
        """Deletes utterances and their audio, also from the quarantine. If the process is killed, `doctor` finishes it.

        Raises:
            BadInputError: one of them does not exist; none is deleted.
            StorageError: a file cannot be deleted, or the recordings are missing.
        """
        deletion.delete(self._connection, [self.get(number) for number in numbers])

    def forget(self, speaker: str) -> int:
        """Deletes all utterances of a speaker, also from the quarantine; returns their number.

        Raises:
            BadInputError: there is no such speaker.
            StorageError: as `delete`.
        """
        count = self.count_of(speaker)
        if chosen := self.of_speaker(speaker):
            self.delete(chosen)
        deletion.delete_from_quarantine(self._connection, lambda record: record.get("speaker") == speaker)
        return count

    def delete_everything(self) -> None:
        """Deletes all utterances, all audio and the quarantine, and forgets which recordings were held out.

        Raises:
            StorageError: as `delete`.
        """
        deletion.delete_everything(self._connection)

    def finish_deletions(self) -> None:
        """Removes the audio and the rows of utterances that are marked as deleted.

        It also removes copies of the database and half-written files, because they contain what was deleted.

        Raises:
            StorageError: a file cannot be deleted, or the recordings are missing.
        """
        deletion.finish(self._connection)

    # Repair: see `device_app.data.repair`

    def remove_to_quarantine(self, utterance: StoredUtterance, reason: str, *, with_audio: bool = True) -> None:
        """Removes an utterance's row; moves its metadata, and its audio if there is any, into the quarantine.

        Args:
            utterance: as it is in the store now.
            reason: why; it becomes part of the record.
            with_audio: if False, its file stays where it is, because it contains another utterance's recording.

        Raises:
            StorageError: the quarantine cannot be written.
        """
        reattachment.remove_to_quarantine(self._connection, utterance, reason, with_audio=with_audio)

    def attach(self, new_paths: Mapping[int, Path]) -> None:
        """Assigns utterances to files in the audio folder that have the bytes of their recordings.

        Utterances may exchange their files. If another utterance keeps the file, a copy of it is assigned.

        Args:
            new_paths: the new file of each utterance, by its number.

        Raises:
            StorageError: the disk is full or cannot be written; all utterances are unchanged.
        """
        reattachment.attach(self._connection, new_paths)

    def restore(self, record: Mapping[str, Any], audio: Path) -> None:
        """Restores an utterance of the quarantine whose audio was found in the audio folder.

        If another utterance has that file, a copy of it is assigned.

        Raises:
            BadInputError: the record cannot be used.
            StorageError: the disk is full or cannot be written.
        """
        reattachment.restore(self._connection, record, audio)
