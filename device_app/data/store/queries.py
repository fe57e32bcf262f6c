"""Queries of the store: utterances by number, domain, speaker or recording, and counts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_app.data.database import CorruptError
from device_app.data.store.connection import Connection, Table
from device_app.data.utterance import StoredUtterance
from editing.errors import BadInputError


@dataclass(frozen=True)
class DomainStats:
    """Counts of one domain; `test` are the held-out utterances with a text, and seconds are of audio."""

    domain: str
    utterances: int
    unlabelled: int
    test: int
    speakers: int
    seconds: float


# Fields of `StoredUtterance` in the order of SELECT; "file" is relative to the audio folder.
COLUMNS = (
    *("number", "domain", "speaker", "text", "source", "split", "file", "sha256", "created", "duration_s"),
    *("level_dbfs", "peak_dbfs", "clipped", "hypothesis", "confidence", "prompt", "snr_db"),
)
# The type of each of them; None where a column may be NULL.
TYPES = (
    *(int, str, str | None, str | None, str, str, str, str, str, float),
    *(float | None, float | None, float | None, str | None, float | None, str | None, float | None),
)
SELECT = """
    SELECT utterance.id, domain.name, speaker.name, text, source, split, file, sha256, created,
           duration_s, level_dbfs, peak_dbfs, clipped, hypothesis, confidence, prompt, snr_db
    FROM utterance JOIN domain ON domain.id = domain_id LEFT JOIN speaker ON speaker.id = speaker_id
    WHERE deleted = 0
"""


class Queries:
    """The queries of a store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, number: int) -> StoredUtterance:
        """Returns an utterance by its number.

        Raises:
            BadInputError: there is no such utterance.
        """
        row = self._connection.sql.execute(f"{SELECT} AND utterance.id = ?", (number,)).fetchone()
        if row is None:
            raise BadInputError(f"there is no utterance {number}; {self._numbers()}")
        return self._stored(row)

    def _numbers(self) -> str:
        """Which numbers there are, and the command that lists them."""
        first, last = self._connection.sql.execute(
            "SELECT min(id), max(id) FROM utterance WHERE deleted = 0"
        ).fetchone()
        if first is None:
            return "there are no recordings yet. 'asr-edge record' makes some"
        numbers = f"the only one is {last}" if first == last else f"their numbers are from {first} to {last}"
        return f"{numbers}. To list them: asr-edge dataset show {shlex.quote(self.get(last).domain)}"

    def utterances(
        self, domain: str | None = None, *, speaker: str | None = None, limit: int = -1, after: int = 0
    ) -> Iterator[StoredUtterance]:
        """Yields utterances in the order in which they were added.

        Args:
            domain: only those of this domain.
            speaker: only those of this speaker.
            limit: the largest number of them; -1 yields all.
            after: only those with a higher number.

        Raises:
            BadInputError: there is no such domain or speaker.
        """
        where, values = "", []
        names: dict[Table, str | None] = {"domain": domain, "speaker": speaker}
        for table, name in names.items():
            if name is not None:
                where += f" AND {table}_id = ?"
                values.append(self._connection.existing_id(table, name))
        query = f"{SELECT} {where} AND utterance.id > ? ORDER BY utterance.id LIMIT ?"
        for row in self._connection.sql.execute(query, (*values, after, limit)):
            yield self._stored(row)

    def stats(self, domain: str | None = None) -> list[DomainStats]:
        """Counts utterances of each domain that has any, sorted by name; or of one domain.

        Raises:
            BadInputError: there is no such domain.
        """
        chosen = None if domain is None else self._connection.existing_id("domain", domain)
        rows = self._connection.sql.execute(
            """
            SELECT name, count(*), sum(text IS NULL), sum(split = 'test' AND text IS NOT NULL),
                   count(DISTINCT speaker_id), sum(duration_s)
            FROM utterance JOIN domain ON domain.id = domain_id
            WHERE deleted = 0 AND (?1 IS NULL OR domain_id = ?1) GROUP BY domain_id ORDER BY name
            """,
            (chosen,),
        )
        return [DomainStats(*row) for row in rows]

    def domains(self) -> list[str]:
        """The names of the domains that have utterances, sorted."""
        rows = self._connection.sql.execute(
            "SELECT name FROM domain WHERE id IN (SELECT domain_id FROM utterance WHERE deleted = 0) ORDER BY name"
        )
        return [str(name) for (name,) in rows]

    def has_domain(self, domain: str) -> bool:
        """Whether a domain has utterances."""
        query = "SELECT 1 FROM utterance JOIN domain ON domain.id = domain_id WHERE name = ? AND deleted = 0 LIMIT 1"
        return self._connection.sql.execute(query, (domain,)).fetchone() is not None

    def is_audio_missing(self) -> bool:
        """Whether there are utterances but no recordings, most likely because their disk is not mounted."""
        return self._connection.is_audio_missing()

    def holds(self, domain: str, sha256: str) -> bool:
        """Whether the domain has a recording with this hash."""
        return self.find(domain, sha256) is not None

    def find(self, domain: str, sha256: str) -> StoredUtterance | None:
        """The utterance of a domain whose recording has this hash; None if there is none."""
        row = self._connection.sql.execute(f"{SELECT} AND sha256 = ? AND domain.name = ?", (sha256, domain)).fetchone()
        return None if row is None else self._stored(row)

    def with_sha256(self, sha256: str) -> list[StoredUtterance]:
        """The utterances of all domains whose recording has this hash."""
        rows = self._connection.sql.execute(f"{SELECT} AND sha256 = ? ORDER BY utterance.id", (sha256,)).fetchall()
        return [self._stored(row) for row in rows]

    def _stored(self, row: tuple[Any, ...]) -> StoredUtterance:
        if not all(map(isinstance, row, TYPES)):
            raise CorruptError(f"the row of utterance {row[0]!r} is damaged")
        values = dict(zip(COLUMNS, row, strict=True))
        return StoredUtterance(audio=self._connection.audio_folder / values.pop("file"), **values)

    def last_recognised(self) -> StoredUtterance:
        """The newest utterance that has a hypothesis.

        Raises:
            BadInputError: there is none.
        """
        row = self._connection.sql.execute(
            f"{SELECT} AND hypothesis IS NOT NULL ORDER BY utterance.id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise BadInputError("no hypothesis has been saved; 'asr-edge transcribe --save' saves them")
        return self._stored(row)

    def count_of(self, speaker: str) -> int:
        """Counts the utterances of a speaker, in the domains and in the quarantine.

        Raises:
            BadInputError: there is no such speaker.
        """
        quarantined = sum(record.get("speaker") == speaker for record in self._connection.quarantine.records())
        if not quarantined:
            self._connection.existing_id("speaker", speaker)
        return len(self.of_speaker(speaker)) + int(quarantined)

    def of_speaker(self, speaker: str) -> list[int]:
        """The numbers of a speaker's utterances; empty if there is no such speaker."""
        rows = self._connection.sql.execute(
            """
            SELECT utterance.id FROM utterance JOIN speaker ON speaker.id = speaker_id
            WHERE speaker.name = ? AND deleted = 0
            """,
            (speaker,),
        )
        return [row[0] for row in rows]

    def marked_as_deleted(self) -> list[str]:
        """Audio files, relative to the audio folder, whose deletion was interrupted."""
        return [row[0] for row in self._connection.sql.execute("SELECT file FROM utterance WHERE deleted = 1")]

    def is_referenced(self, audio: Path) -> bool:
        """Whether a row refers to this file in the audio folder."""
        file = audio.relative_to(self._connection.audio_folder).as_posix()
        return self._connection.sql.execute("SELECT 1 FROM utterance WHERE file = ?", (file,)).fetchone() is not None

    def unknown_files(self) -> list[Path]:
        """Files in the audio folder to which no row refers; other processes cannot write to the store meanwhile."""
        with self._connection.transaction():
            return self._connection.unknown_files()
