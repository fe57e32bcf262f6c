"""A person's utterances: SQLite for what is known of them, one FLAC file each for the sound.

Audio is written first, synced and renamed, then its row; a deletion marks the row, removes the
audio, then the row. So a kill at any moment leaves an utterance whole, or something that
`device_app.data.repair` can tell apart and mend. A domain holds a recording, by its bytes, once.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from device_app.data.database import connect, transaction
from device_app.data.migrations import migrate
from device_app.data.names import checked_name, checked_text
from device_app.data.quarantine import Quarantine
from device_app.data.utterance import Split, StoredUtterance, Utterance
from device_app.paths import DATA, data_folder
from editing.errors import BadInputError, StorageError
from editing.files import make_folder, private_folder, restrict_access, write_all_atomically

TEST_SHARE = 5  # one of five is held out
SEVERAL_SPEAKERS = 3  # from here on whole speakers are held out, not utterances


@dataclass(frozen=True)
class DomainStats:
    """Counts of one domain; seconds are of audio."""

    domain: str
    utterances: int
    unlabelled: int
    test: int
    speakers: int
    seconds: float


# Fields of `StoredUtterance` in the order of SELECT; "file" is below the audio folder.
COLUMNS = (
    *("number", "domain", "speaker", "text", "source", "split", "file", "sha256", "created", "duration_s"),
    *("level_dbfs", "peak_dbfs", "clipped", "hypothesis", "confidence", "prompt", "snr_db"),
)
SELECT = """
    SELECT utterance.id, domain.name, speaker.name, text, source, split, file, sha256, created,
           duration_s, level_dbfs, peak_dbfs, clipped, heard, confidence, prompt, snr_db
    FROM utterance JOIN domain ON domain.id = domain_id LEFT JOIN speaker ON speaker.id = speaker_id
    WHERE deleted = 0
"""


class Store:
    """The utterances of this machine. One object for one thread; several processes may each have one.

    Only the owner of its folder can read what is in it. As a context manager it closes itself, and
    turns what SQLite says of a damaged file into a StorageError that says what to do.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Opens the store in a folder (by default the data folder), or makes it.

        Raises:
            StorageError: it cannot be opened or written, is damaged, or of a later asr-edge.
        """
        self.folder = folder or data_folder()
        self.audio_folder = self.folder / "audio"
        self.path = self.folder / "store.sqlite3"
        self.quarantine = Quarantine(self.folder)
        try:
            make_folder(private_folder(self.folder, DATA))
            self._connection = connect(self.path)
            if migrate(self._connection, self.path) and not self._is_audio_away():
                self._remove_marked()
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{self.folder}: cannot be written ({error.strerror or error})") from error
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: cannot be opened ({error}); nothing was changed") from error

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(value, sqlite3.Error):
            raise StorageError(
                f"{self.path}: is damaged ({value}); the recordings are whole, in {self.audio_folder}. "
                "Take the database from a backup, or move it away and let 'asr-edge doctor' recover them"
            ) from value

    # Adding

    def add(self, new: Sequence[Utterance]) -> list[StoredUtterance]:
        """Keeps utterances; when it returns, they survive a power cut.

        Returns:
            Those that were kept. A recording that its domain holds already, or that comes twice, is
            left out: `find` gives the one that is there.

        Raises:
            BadInputError: a domain's or speaker's name is not one (see `checked_name`).
            StorageError: the disk is full or cannot be written, or the recordings that should be
                there are away; none of them was kept.
        """
        for utterance in new:
            checked_name(utterance.domain, "domain")
            if utterance.speaker is not None:
                checked_name(utterance.speaker, "speaker")
        # Files and rows under one lock: audio without a row is then nobody's who is still at work,
        # and what another process has just added is not added again.
        with self._transaction():
            self._check_audio_folder()
            first: dict[tuple[str, str], Utterance] = {}
            for one in new:
                first.setdefault((one.domain, one.recorded.sha256), one)
            fresh = [one for (domain, sha256), one in first.items() if not self.holds(domain, sha256)]
            names = [_file_name() for _ in fresh]
            paths = [self.audio_folder / name for name in names]
            write_all_atomically({path: u.recorded.flac for path, u in zip(paths, fresh, strict=True)})
            try:
                splits = self._splits(fresh)
                ids = [self._insert(u, name, split) for u, name, split in zip(fresh, names, splits, strict=True)]
            except BaseException:
                for path in paths:
                    path.unlink(missing_ok=True)
                raise
        return [self.get(identity) for identity in ids]

    def _check_audio_folder(self) -> None:
        """
        Raises:
            StorageError: there are utterances but no recordings at all: their disk is not mounted, most likely.
        """
        if self._is_audio_away():
            raise StorageError(
                f"{self.audio_folder}: the recordings are missing; nothing was changed. Is the disk mounted? "
                "'asr-edge doctor' says what is missing, and how to go on without it"
            )

    def _is_audio_away(self) -> bool:
        is_empty = not self.audio_folder.is_dir() or next(self.audio_folder.iterdir(), None) is None
        return is_empty and self._connection.execute("SELECT 1 FROM utterance").fetchone() is not None

    def _insert(self, new: Utterance, file: str, split: Split) -> int:
        recording = new.recorded
        cursor = self._connection.execute(
            """
            INSERT INTO utterance (domain_id, speaker_id, text, source, split, file, sha256, created,
                                   duration_s, level_dbfs, peak_dbfs, clipped, heard, confidence,
                                   prompt, snr_db)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            (
                self._id_of("domain", new.domain),
                None if new.speaker is None else self._id_of("speaker", new.speaker),
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
            self._connection.execute("INSERT OR IGNORE INTO tested VALUES (?)", (recording.sha256,))
        return int(cursor.lastrowid or 0)

    def _id_of(self, table: Literal["domain", "speaker"], name: str) -> int:
        self._connection.execute(f"INSERT INTO {table} (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))  # noqa: S608
        row = self._connection.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return int(row[0])

    # Splitting

    def _splits(self, new: Sequence[Utterance]) -> list[Split]:
        """Which part each utterance belongs to, once and for all.

        Where a domain has several speakers, whole speakers are held out, so that a test tells how
        well a stranger is heard; else every fifth utterance by hash. What was ever tested with
        stays in the test part.
        """
        decided = {
            domain: self._split_speakers(domain, {u.speaker for u in new if u.domain == domain and u.speaker})
            for domain in {u.domain for u in new}
        }
        splits: list[Split] = []
        for utterance in new:
            by_speaker = decided[utterance.domain].get(utterance.speaker or "")
            sha256 = utterance.recorded.sha256
            by_hash: Split = "test" if int(sha256[:8], 16) % TEST_SHARE == 0 else "train"
            is_tested = utterance.is_held_out or self._was_tested(sha256)
            splits.append("test" if is_tested else by_speaker or by_hash)
        return splits

    def _was_tested(self, sha256: str) -> bool:
        return self._connection.execute("SELECT 1 FROM tested WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def expect_speakers(self, domain: str, speakers: Collection[str]) -> None:
        """Decides which of these speakers are held out, before their utterances come in batches.

        A batch may hold one speaker alone, from which nothing can be told of the whole corpus.

        Raises:
            BadInputError: a name is not one.
        """
        checked_name(domain, "domain")
        for name in speakers:
            checked_name(name, "speaker")
        with self._transaction():
            self._split_speakers(domain, speakers)

    def _split_speakers(self, domain: str, speakers: Collection[str]) -> dict[str, Split]:
        """The parts of the domain's speakers, deciding those of `speakers` that are new to it.

        A speaker who was there before the domain had several has utterances in both parts and is
        not in the answer.
        """
        domain_id = self._id_of("domain", domain)
        known: dict[str, Split | None] = dict(
            self._connection.execute(
                """
                SELECT name, split
                FROM speaker LEFT JOIN speaker_split ON speaker_id = speaker.id AND domain_id = ?1
                WHERE split IS NOT NULL OR EXISTS (
                    SELECT 1 FROM utterance WHERE speaker_id = speaker.id AND domain_id = ?1 AND deleted = 0
                )
                """,
                (domain_id,),
            )
        )
        arriving = set(speakers) - known.keys()
        total = len(known) + len(arriving)
        decided = {speaker: split for speaker, split in known.items() if split is not None}
        if total < SEVERAL_SPEAKERS:
            return decided
        held_out = sum(split == "test" for split in decided.values())
        for speaker in sorted(arriving, key=lambda name: hashlib.sha256(f"{domain}\0{name}".encode()).digest()):
            decided[speaker] = "test" if held_out < max(1, round(total / TEST_SHARE)) else "train"
            held_out += decided[speaker] == "test"
            self._connection.execute(
                "INSERT INTO speaker_split VALUES (?, ?, ?)",
                (domain_id, self._id_of("speaker", speaker), decided[speaker]),
            )
        return decided

    def hold_out(self, domain: str, fewest: int) -> None:
        """Moves labelled utterances into the test part, for good, until there are `fewest` of them.

        Those that were never learnt from only: the caller knows. Where speakers are held out
        whole, nothing is moved. At least half of the utterances stay to learn from.

        Raises:
            BadInputError: there is no such domain.
        """
        labelled = [u for u in self.utterances(domain) if u.text is not None]
        training = sorted((u for u in labelled if u.split == "train"), key=lambda u: u.sha256)
        has_test_speakers = self._connection.execute(
            "SELECT 1 FROM speaker_split WHERE domain_id = ? AND split = 'test'", (self._existing("domain", domain),)
        ).fetchone()
        wanted = min(fewest, len(labelled) // 2) - (len(labelled) - len(training))
        if has_test_speakers or wanted <= 0:
            return
        with self._transaction():
            for utterance in training[:wanted]:
                self._connection.execute("UPDATE utterance SET split = 'test' WHERE id = ?", (utterance.number,))
                self._connection.execute("INSERT OR IGNORE INTO tested VALUES (?)", (utterance.sha256,))

    # Reading

    def get(self, identity: int) -> StoredUtterance:
        """
        Raises:
            BadInputError: there is no such utterance.
        """
        row = self._connection.execute(f"{SELECT} AND utterance.id = ?", (identity,)).fetchone()
        if row is None:
            raise BadInputError(f"there is no utterance {identity}; 'asr-edge dataset list' shows what there is")
        return self._stored(row)

    def utterances(
        self, domain: str | None = None, *, speaker: str | None = None, limit: int = -1, after: int = 0
    ) -> Iterator[StoredUtterance]:
        """Utterances in the order they came, of a domain or a speaker, with ids above `after`.

        Raises:
            BadInputError: there is no such domain or speaker.
        """
        where, values = "", []
        for table, name in (("domain", domain), ("speaker", speaker)):
            if name is not None:
                where += f" AND {table}_id = ?"
                values.append(self._existing(table, name))
        query = f"{SELECT} {where} AND utterance.id > ? ORDER BY utterance.id LIMIT ?"
        for row in self._connection.execute(query, (*values, after, limit)):
            yield self._stored(row)

    def stats(self, domain: str | None = None) -> list[DomainStats]:
        """Counts of every domain that has utterances, by name; or of one domain.

        Raises:
            BadInputError: there is no such domain.
        """
        chosen = None if domain is None else self._existing("domain", domain)
        rows = self._connection.execute(
            """
            SELECT name, count(*), sum(text IS NULL), sum(split = 'test'), count(DISTINCT speaker_id), sum(duration_s)
            FROM utterance JOIN domain ON domain.id = domain_id
            WHERE deleted = 0 AND (?1 IS NULL OR domain_id = ?1) GROUP BY domain_id ORDER BY name
            """,
            (chosen,),
        )
        return [DomainStats(*row) for row in rows]

    def holds(self, domain: str, sha256: str) -> bool:
        """Whether this very recording is in the domain already."""
        return self.find(domain, sha256) is not None

    def find(self, domain: str, sha256: str) -> StoredUtterance | None:
        """The utterance of a domain that is this very recording."""
        row = self._connection.execute(f"{SELECT} AND sha256 = ? AND domain.name = ?", (sha256, domain)).fetchone()
        return None if row is None else self._stored(row)

    def _existing(self, table: str, name: str) -> int:
        row = self._connection.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if row is None:
            names = [r[0] for r in self._connection.execute(f"SELECT name FROM {table} ORDER BY name LIMIT 20")]  # noqa: S608
            raise BadInputError(f"there is no {table} {name!r} ({', '.join(names) or 'none yet'})")
        return int(row[0])

    def _stored(self, row: tuple[Any, ...]) -> StoredUtterance:
        values = dict(zip(COLUMNS, row, strict=True))
        return StoredUtterance(audio=self.audio_folder / values.pop("file"), **values)

    # Changing

    def set_text(self, identity: int, text: str) -> StoredUtterance:
        """Labels an utterance. One whose text is not its hypothesis counts as corrected.

        Raises:
            BadInputError: there is no such utterance, or the text is none (see `checked_text`).
        """
        before = self.get(identity)
        text = checked_text(text)
        source = before.source if before.hypothesis in (None, text) else "corrected"
        with self._transaction():
            self._connection.execute("UPDATE utterance SET text = ?, source = ? WHERE id = ?", (text, source, identity))
        return self.get(identity)

    def last_recognised(self) -> StoredUtterance:
        """The newest utterance that has a hypothesis.

        Raises:
            BadInputError: none was kept.
        """
        row = self._connection.execute(f"{SELECT} AND heard IS NOT NULL ORDER BY utterance.id DESC LIMIT 1").fetchone()
        if row is None:
            raise BadInputError("nothing that was heard has been kept; 'asr-edge transcribe --save' keeps it")
        return self._stored(row)

    def rename(self, domain: str, name: str) -> None:
        """Gives a domain another name.

        Raises:
            BadInputError: there is no such domain, or one of the new name exists.
        """
        identity = self._existing("domain", domain)
        try:
            with self._transaction():
                self._connection.execute(
                    "UPDATE domain SET name = ? WHERE id = ?", (checked_name(name, "domain"), identity)
                )
        except sqlite3.IntegrityError:
            raise BadInputError(
                f"there is a domain {name!r} already; 'asr-edge dataset move' puts utterances into it"
            ) from None

    def move(self, identities: Sequence[int], domain: str) -> None:
        """Puts utterances into another domain, made if need be; each keeps its split.

        Raises:
            BadInputError: one of them does not exist, or the domain holds the same recording; none is moved.
        """
        checked_name(domain, "domain")
        moving = [self.get(identity) for identity in identities]
        with self._transaction():
            target = self._id_of("domain", domain)
            for utterance in moving:
                same = self.find(domain, utterance.sha256)
                if same is not None and same.number != utterance.number:
                    raise BadInputError(
                        f"utterance {utterance.number}: {domain!r} has the same recording as utterance "
                        f"{same.number}; nothing was moved. Delete one of them"
                    )
                self._connection.execute("UPDATE utterance SET domain_id = ? WHERE id = ?", (target, utterance.number))

    def delete(self, identities: Sequence[int]) -> None:
        """Deletes utterances and their audio, also from the quarantine. A kill half-way leaves the rest to `doctor`.

        Raises:
            BadInputError: one of them does not exist; none is deleted.
            StorageError: a file cannot be deleted, or the recordings that should be there are away.
        """
        deleting = [self.get(identity) for identity in identities]
        hashes = {utterance.sha256 for utterance in deleting}
        with self._transaction():
            self._check_audio_folder()
            self._connection.executemany(
                "UPDATE utterance SET deleted = 1 WHERE id = ?", [(utterance.number,) for utterance in deleting]
            )
            self.quarantine.forget(lambda record: record.get("sha256") in hashes)
        self.finish_deletions()

    def forget(self, speaker: str) -> int:
        """Deletes everything a speaker has said, also from the quarantine; returns how many utterances.

        Raises:
            BadInputError: there is no such speaker.
            StorageError: as `delete`.
        """
        count = self.count_of(speaker)
        if chosen := self._of_speaker(speaker):
            self.delete(chosen)
        with self._transaction():
            self.quarantine.forget(lambda record: record.get("speaker") == speaker)
        self.finish_deletions()
        return count

    def count_of(self, speaker: str) -> int:
        """How many utterances of a speaker there are, in the domains and in the quarantine.

        Raises:
            BadInputError: there is no such speaker.
        """
        quarantined = sum(record.get("speaker") == speaker for record in self.quarantine.records())
        if not quarantined:
            self._existing("speaker", speaker)
        return len(self._of_speaker(speaker)) + int(quarantined)

    def _of_speaker(self, speaker: str) -> list[int]:
        rows = self._connection.execute(
            """
            SELECT utterance.id FROM utterance JOIN speaker ON speaker.id = speaker_id
            WHERE speaker.name = ? AND deleted = 0
            """,
            (speaker,),
        )
        return [row[0] for row in rows]

    def remove_to_quarantine(self, utterance: StoredUtterance, reason: str) -> None:
        """Removes an utterance's row; what was known of it, and its audio if there is any, go into the quarantine.

        Raises:
            StorageError: the quarantine cannot be written.
        """
        with self._transaction():
            file = utterance.audio.relative_to(self.audio_folder).as_posix()
            known = {name: value for name, value in utterance.record().items() if name != "audio"}
            self.quarantine.add([{**known, "file": file}], reason)
            if utterance.audio.is_file():
                self.quarantine.take(utterance.audio)
            self._connection.execute("DELETE FROM utterance WHERE id = ?", (utterance.number,))

    def attach(self, identity: int, audio: Path) -> None:
        """Says where an utterance's audio is: another file in the audio folder, with the same bytes."""
        file = audio.relative_to(self.audio_folder).as_posix()
        with self._transaction():
            restrict_access(audio)
            self._connection.execute("UPDATE utterance SET file = ? WHERE id = ?", (file, identity))

    def restore(self, record: Mapping[str, Any], audio: Path) -> None:
        """Puts an utterance of the quarantine back, whose audio has been found in the audio folder.

        Raises:
            BadInputError: the record cannot be used.
        """
        columns = (
            *("text", "source", "split", "sha256", "created", "duration_s", "level_dbfs", "peak_dbfs"),
            *("clipped", "heard", "confidence", "prompt", "snr_db"),
        )
        file = audio.relative_to(self.audio_folder).as_posix()
        try:
            domain = checked_name(str(record["domain"]), "domain")
            speaker = None if record["speaker"] is None else checked_name(str(record["speaker"]), "speaker")
            with self._transaction():
                restrict_access(audio)
                values = [record[column] for column in columns]
                values[0] = None if values[0] is None else checked_text(str(values[0]))
                values += [self._id_of("domain", domain), speaker and self._id_of("speaker", speaker), file]
                names = ", ".join((*columns, "domain_id", "speaker_id", "file"))
                places = ", ".join("?" * len(values))
                self._connection.execute(f"INSERT INTO utterance ({names}) VALUES ({places})", values)  # noqa: S608
                same = ("sha256", "domain", "text")
                self.quarantine.forget(lambda other: all(other.get(key) == record[key] for key in same))
        except (KeyError, sqlite3.Error) as error:
            raise BadInputError(f"{self.quarantine.folder}: a record cannot be used ({error})") from error

    def replace(self, stored: StoredUtterance, new: Utterance) -> StoredUtterance:
        """Takes other audio for an utterance, with its text and figures.

        Its number, domain, speaker, source, prompt and part (train or test) stay.

        Raises:
            BadInputError: the text is none (see `checked_text`), or another utterance of the domain is the
                same recording.
            StorageError: the disk is full or cannot be written; the utterance is as it was.
        """
        name, recording = _file_name(), new.recorded
        text = None if new.text is None else checked_text(new.text)
        with self._transaction():
            self._check_audio_folder()
            same = self.find(stored.domain, recording.sha256)
            if same is not None and same.number != stored.number:
                raise BadInputError(
                    f"utterance {stored.number}: its domain has the very same recording as {same.number}; "
                    "nothing was changed"
                )
            write_all_atomically({self.audio_folder / name: recording.flac})
            self._connection.execute(
                """
                UPDATE utterance
                SET file = ?, sha256 = ?, duration_s = ?, level_dbfs = ?, peak_dbfs = ?, clipped = ?,
                    text = ?, heard = ?, confidence = ?, snr_db = ?
                WHERE id = ?
                """,
                (
                    *(name, recording.sha256, recording.duration_s, recording.level_dbfs, recording.peak_dbfs),
                    *(recording.clipped, text, new.hypothesis, new.confidence, recording.snr_db, stored.number),
                ),
            )
            if stored.split == "test":
                self._connection.execute("INSERT OR IGNORE INTO tested VALUES (?)", (recording.sha256,))
        stored.audio.unlink(missing_ok=True)
        return self.get(stored.number)

    def set_hypothesis(self, identity: int, hypothesis: str, confidence: float) -> None:
        """Notes a recogniser's hypothesis, and how sure it is, from 0 to 1."""
        with self._transaction():
            self._connection.execute(
                "UPDATE utterance SET heard = ?, confidence = ? WHERE id = ?", (hypothesis, confidence, identity)
            )

    def marked_as_deleted(self) -> list[str]:
        """Audio files, below the audio folder, whose deletion has begun and not ended."""
        return [row[0] for row in self._connection.execute("SELECT file FROM utterance WHERE deleted = 1")]

    def unknown_files(self) -> list[Path]:
        """Files in the audio folder that no row names, seen while nobody is writing."""
        with self._transaction():
            known = {row[0] for row in self._connection.execute("SELECT file FROM utterance")}
            files = sorted(path for path in self.audio_folder.rglob("*") if path.is_file())
        return [path for path in files if path.relative_to(self.audio_folder).as_posix() not in known]

    def finish_deletions(self) -> None:
        """Removes the audio and the rows of utterances that are marked as deleted.

        Copies of the database from before a migration have what was deleted too; they are removed.

        Raises:
            StorageError: a file cannot be deleted, or the recordings that should be there are away.
        """
        self._check_audio_folder()  # what is on a disk that is not mounted cannot be deleted
        self._remove_copies()
        self._remove_marked()

    def _remove_copies(self) -> None:
        for copy in self.folder.glob(f"{self.path.name}.before-*"):
            copy.unlink(missing_ok=True)

    def _remove_marked(self) -> None:
        rows = self._connection.execute("SELECT id, file FROM utterance WHERE deleted = 1").fetchall()
        try:
            for _, file in rows:
                (self.audio_folder / file).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{error.filename}: cannot be deleted ({error.strerror})") from error
        with self._transaction():
            self._connection.executemany("DELETE FROM utterance WHERE id = ?", [(row[0],) for row in rows])
            for table in ("domain", "speaker"):
                named = f"SELECT {table}_id FROM utterance WHERE {table}_id IS NOT NULL"  # noqa: S608
                self._connection.execute(f"DELETE FROM {table} WHERE id NOT IN ({named})")  # noqa: S608
        # The journal may still hold what was deleted, or put into the quarantine; the person meant all of it.
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with transaction(self._connection):
                yield
        except sqlite3.OperationalError as error:
            raise StorageError(f"{self.path}: cannot be written ({error}); nothing was changed") from error


def _file_name() -> str:
    name = secrets.token_hex(16)
    return f"{name[:2]}/{name}.flac"
