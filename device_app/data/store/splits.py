"""Decides which utterances are for training and which are held out; the decision is permanent."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from device_app.data.store.connection import Connection
from device_app.data.utterance import Split, StoredUtterance, Utterance

HOLD_OUT_EVERY = 5  # one of five is held out
SEVERAL_SPEAKERS = 3  # with at least this many, whole speakers are held out instead of single utterances


def splits_of(connection: Connection, new: Sequence[Utterance]) -> list[Split]:
    """Assigns each utterance to a split.

    A split that the corpus assigns is respected. Otherwise, if a domain has several speakers, whole
    speakers are held out, so that the WER is that of an unknown speaker; with fewer speakers, about every
    fifth utterance is, chosen by the hash of its recording, or the `part` that it shares with others. A recording
    that was ever held out stays held out.
    """
    undecided = [u for u in new if u.speaker and not u.has_split]
    decided = {
        domain: split_speakers(connection, domain, {u.speaker for u in undecided if u.domain == domain and u.speaker})
        for domain in {u.domain for u in new}
    }
    splits: list[Split] = []
    for utterance in new:
        by_speaker = decided[utterance.domain].get(utterance.speaker or "")
        sha256 = utterance.recorded.sha256
        by_hash = utterance.part or part_by_hash(sha256)
        if utterance.is_held_out or _was_tested(connection, sha256):
            splits.append("test")
        else:
            splits.append("train" if utterance.is_for_training else by_speaker or by_hash)
    return splits


def part_by_hash(sha256: str) -> Split:
    """The split of about every fifth recording is the held-out one, by its hash in hexadecimal."""
    return "test" if int(sha256[:8], 16) % HOLD_OUT_EVERY == 0 else "train"


def _was_tested(connection: Connection, sha256: str) -> bool:
    return connection.sql.execute("SELECT 1 FROM tested WHERE sha256 = ?", (sha256,)).fetchone() is not None


def split_speakers(connection: Connection, domain: str, speakers: Collection[str]) -> dict[str, Split]:
    """The splits of the domain's speakers; assigns those of `speakers` that are new to the domain.

    A speaker whose utterances were split one by one, before the domain had several speakers, has
    utterances in both splits and is not in the result.
    """
    domain_id = connection.ensured_id("domain", domain)
    known: dict[str, Split | None] = dict(
        connection.sql.execute(
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
        decided[speaker] = "test" if held_out < max(1, round(total / HOLD_OUT_EVERY)) else "train"
        held_out += decided[speaker] == "test"
        connection.sql.execute(
            "INSERT INTO speaker_split VALUES (?, ?, ?)",
            (domain_id, connection.ensured_id("speaker", speaker), decided[speaker]),
        )
    return decided


def remember_tested(connection: Connection, sha256: str) -> None:
    """Records that a recording is held out: it stays so, even if it is deleted and imported again."""
    connection.sql.execute("INSERT OR IGNORE INTO tested VALUES (?)", (sha256,))


def hold_out(connection: Connection, domain: str, labelled: Sequence[StoredUtterance], minimum: int) -> None:
    """See `Store.hold_out`; `labelled` are the domain's labelled utterances.

    Recordings that another domain has for training come last: the model may have been trained on them there.
    """
    domain_id = connection.existing_id("domain", domain)
    elsewhere = {
        sha256
        for (sha256,) in connection.sql.execute(
            "SELECT sha256 FROM utterance WHERE domain_id != ? AND split = 'train' AND deleted = 0", (domain_id,)
        )
    }
    training = sorted((u for u in labelled if u.split == "train"), key=lambda u: (u.sha256 in elsewhere, u.sha256))
    has_test_speakers = connection.sql.execute(
        "SELECT 1 FROM speaker_split WHERE domain_id = ? AND split = 'test'", (domain_id,)
    ).fetchone()
    wanted = min(minimum, len(labelled) // 2) - (len(labelled) - len(training))
    if has_test_speakers or wanted <= 0:
        return
    with connection.transaction():
        for utterance in training[:wanted]:
            connection.sql.execute("UPDATE utterance SET split = 'test' WHERE id = ?", (utterance.number,))
            remember_tested(connection, utterance.sha256)
