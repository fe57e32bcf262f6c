"""Stores of 767e81d open, with every utterance and all that was known of it."""

import hashlib
import sqlite3
from contextlib import closing

import pytest

from tests.frozen import access

KNOWN = """
    SELECT utterance.id, domain.name AS domain, speaker.name AS speaker, text, source, split, file AS audio, sha256,
           created, duration_s, level_dbfs, peak_dbfs, clipped, heard, confidence, prompt, snr_db
    FROM utterance JOIN domain ON domain.id = domain_id LEFT JOIN speaker ON speaker.id = speaker_id
    ORDER BY utterance.id
"""


def rows(database, query):
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


@pytest.fixture
def store(home):
    return home / "store.sqlite3"


def test_every_utterance_is_there_with_all_that_is_known_of_it(home, store):
    frozen = rows(store, KNOWN)
    found = [one for domain in access.domains(home) for one in access.utterances(home, domain["domain"])]
    for one in frozen:
        one["audio"] = str(home / "audio" / one["audio"])
    assert sorted(found, key=lambda one: one["id"]) == frozen
    for one in found:
        with open(one["audio"], "rb") as file:  # noqa: PTH123
            assert hashlib.file_digest(file, "sha256").hexdigest() == one["sha256"]
    assert not access.damage(home)


def test_the_frozen_store_holds_every_kind_of_utterance(store):
    frozen = rows(store, KNOWN)
    assert {one["source"] for one in frozen} == {"recorded", "imported", "corrected"}
    assert {one["domain"] for one in frozen} == {"cities", "sense", "crew", "desk", "heard", "mail"}
    assert sum(one["text"] is None for one in frozen) == 1
    prompts = [one["prompt"] for one in frozen if one["prompt"]]
    assert prompts == ["It was the best of times.", "It was the worst of times."]
    assert [one["snr_db"] for one in frozen if one["snr_db"]] == [31.5, 17.25]
    assert sum(one["heard"] is not None and one["confidence"] is not None for one in frozen) == 4
    assert {one["split"] for one in frozen} == {"train", "test"}


def test_counts_of_every_domain(home):
    found = {one["domain"]: one for one in access.domains(home)}
    counts = {name: (one["utterances"], one["unlabelled"], one["speakers"]) for name, one in found.items()}
    assert counts == {
        "cities": (10, 0, 1),
        "crew": (3, 0, 3),
        "desk": (2, 0, 1),
        "heard": (1, 1, 0),
        "mail": (1, 0, 0),
        "sense": (10, 0, 1),
    }
    assert all(found[domain]["test"] >= 3 for domain in ("cities", "sense"))  # as `adapt` held them out


def test_what_was_held_out_stays_so_and_what_was_deleted_comes_back_to_its_part(home, store, thaw):
    tested = {one["sha256"] for one in rows(store, "SELECT sha256 FROM tested")}
    of_speaker = {
        one["name"]: one["split"]
        for one in rows(store, "SELECT name, split FROM speaker_split JOIN speaker ON speaker.id = speaker_id")
    }
    manifest = thaw("recordings") / "crew.jsonl"
    assert access.import_manifest(home, manifest, "crew") == 1
    for one in access.utterances(home, "crew"):
        assert one["split"] == ("test" if one["sha256"] in tested else of_speaker[one["speaker"]])


def test_an_utterance_that_was_recognised_and_kept_can_be_corrected(home):
    access.correct_last(home, "he might even have been made")
    (one,) = access.utterances(home, "mail")
    assert (one["text"], one["source"]) == ("he might even have been made", "corrected")
    assert one["heard"]


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_stores_open_and_lose_nothing(thaw, version):
    home = thaw(f"store-{version}")
    (before,) = rows(home / "store.sqlite3", "PRAGMA user_version")
    assert before == {"user_version": version}
    labelled, unlabelled = access.utterances(home, "kitchen")
    assert (labelled["text"], labelled["source"], labelled["split"]) == ("it was the best of times", "imported", "test")
    assert (unlabelled["text"], unlabelled["source"], unlabelled["id"]) == (None, "recorded", 2)
    for one in (labelled, unlabelled):
        assert (one["speaker"], one["created"]) == ("anna", "2026-01-02T03:04:05.678+00:00")
        assert (one["duration_s"], one["level_dbfs"], one["peak_dbfs"], one["clipped"]) == (1.75, -20.5, -3.0, 0.0)
        assert one["heard"] == ("it was the burst of times" if version == 2 else None)
        assert one["confidence"] == (0.5 if version == 2 else None)
        assert (one["prompt"], one["snr_db"]) == (None, None)
    assert not access.damage(home)
    access.label(home, 2, "it was the age of wisdom")
    assert access.utterances(home, "kitchen")[1]["text"] == "it was the age of wisdom"
