import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.data.names import MAX_TEXT_LENGTH, checked_name, checked_text
from device_app.data.store import Store
from device_app.data.store.migrations import MIGRATIONS
from device_app.data.utterance import Recording, Utterance
from editing.errors import BadInputError, StorageError
from tests.device_app.data.downgrade import allow_duplicates, downgrade_to_3


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        yield opened


def new(index=0, domain="kitchen", speaker=None, text="some words", **more):
    recording = Recording(flac=f"audio {index}".encode(), duration_s=1.5, level_dbfs=-20.0, peak_dbfs=-3.0, clipped=0.0)
    return Utterance(domain=domain, text=text, source="recorded", speaker=speaker, recording=recording, **more)


def test_a_stored_utterance_equals_the_added_one(store):
    (kept,) = store.add([new(speaker="anna")])
    found = store.get(kept.number)
    assert (found.domain, found.speaker, found.text, found.source) == ("kitchen", "anna", "some words", "recorded")
    assert (found.duration_s, found.level_dbfs, found.peak_dbfs, found.clipped) == (1.5, -20.0, -3.0, 0.0)
    assert found.audio.read_bytes() == b"audio 0"
    assert found.sha256 == new().recorded.sha256


def test_a_domain_exists_while_it_has_utterances(store):
    assert not store.has_domain("kitchen")
    (kept,) = store.add([new()])
    assert store.has_domain("kitchen")
    assert not store.has_domain("Kitchen")
    store.delete([kept.number])
    assert not store.has_domain("kitchen")
    assert store.domains() == []


def test_utterances_survive_closing(tmp_path):
    with Store(tmp_path) as store:
        store.add([new()])
    with Store(tmp_path) as store:
        assert [u.text for u in store.utterances("kitchen")] == ["some words"]


def test_a_batch_is_stored_completely_or_not_at_all(store):
    with pytest.raises(BadInputError):
        store.add([new(0), new(1, text="a\x00b")])
    assert store.stats() == []
    assert [p for p in store.audio_folder.rglob("*") if p.is_file()] == []


def test_stats_count_the_utterances(store):
    store.add([new(i, speaker="anna") for i in range(20)])
    store.add([new(20, text=None), new(21, domain="garden")])
    garden, kitchen = store.stats()
    assert (garden.domain, garden.utterances, garden.seconds) == ("garden", 1, 1.5)
    assert (kitchen.utterances, kitchen.unlabelled, kitchen.speakers) == (21, 1, 1)
    labelled = [u for u in store.utterances("kitchen") if u.text is not None]
    assert kitchen.test == sum(u.split == "test" for u in labelled)
    assert store.stats("garden") == [garden]


def test_one_speaker_is_split_by_utterance(store):
    store.add([new(i, speaker="anna") for i in range(200)])
    assert 0.1 < store.stats()[0].test / 200 < 0.3


def test_several_speakers_are_held_out_whole(store):
    store.add([new(i, speaker=f"speaker {i % 10}") for i in range(100)])
    parts = {(u.speaker, u.split) for u in store.utterances()}
    assert len(parts) == 10
    assert Counter(split for _, split in parts) == {"train": 8, "test": 2}


def test_a_speaker_stays_in_one_split(store):
    store.add([new(i, speaker=f"speaker {i % 5}") for i in range(20)])
    before = {u.speaker: u.split for u in store.utterances()}
    store.add([new(100 + i, speaker=f"speaker {i % 30}") for i in range(60)])
    for utterance in store.utterances():
        assert before.get(utterance.speaker, utterance.split) == utterance.split


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(12)), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_held_out_utterances_stay_held_out(tmp_path_factory, order, cuts):
    """However it comes back: after a deletion, in another order, in other batches."""
    with Store(tmp_path_factory.mktemp("store")) as store:
        store.add([new(i, speaker="anna") for i in range(12)])
        tested = {u.sha256 for u in store.utterances() if u.split == "test"}
        store.delete([u.number for u in store.utterances()])
        bounds = [0, *sorted(cuts), 12]
        for start, end in pairwise(bounds):
            store.add([new(i, domain="other", speaker=f"speaker {i % 4}") for i in order[start:end]])
        for utterance in store.utterances():
            assert utterance.split == "test" or utterance.sha256 not in tested


def test_held_out_lines_of_a_corpus_are_never_for_training(store):
    store.add([new(i, split="validation" if i % 2 == 0 else "") for i in range(40)])
    for index, utterance in enumerate(store.utterances()):
        assert utterance.split == "test" or index % 2 == 1


def test_moving_and_renaming_keep_the_split(store):
    store.add([new(i) for i in range(20)])
    before = {u.number: u.split for u in store.utterances()}
    store.move([1, 2, 3], "garden")
    store.rename("kitchen", "cooking")
    assert {u.number: u.split for u in store.utterances()} == before
    assert {u.number for u in store.utterances("garden")} == {1, 2, 3}
    with pytest.raises(BadInputError, match="already"):
        store.rename("garden", "cooking")
    with pytest.raises(BadInputError, match=r"no domain 'kitchen'; there are cooking, garden"):
        list(store.utterances("kitchen"))


def test_deleting_deletes_the_audio_and_leaves_no_trace_of_it(store):
    kept, gone = store.add([new(0), new(1, speaker="berta", text="a secret sentence")])
    store.delete([gone.number])
    assert kept.audio.exists()
    assert not gone.audio.exists()
    with pytest.raises(BadInputError, match=f"no utterance {gone.number}"):
        store.get(gone.number)
    with pytest.raises(BadInputError, match="no speaker 'berta'"):
        list(store.utterances(speaker="berta"))
    for path in store.folder.glob("store.sqlite3*"):
        assert b"a secret sentence" not in path.read_bytes()


def test_an_id_is_never_reused(store):
    (first,) = store.add([new(0)])
    store.delete([first.number])
    assert store.add([new(1)])[0].number != first.number


def test_copies_that_a_killed_import_left_go_with_their_recording(store):
    gone, kept = store.add([new(0), new(1)])
    store.add([new(1, domain="garden")])
    for utterance in (gone, kept):
        utterance.audio.with_name(f"left-{utterance.number}.flac").write_bytes(utterance.audio.read_bytes())
    other = gone.audio.with_name("other.flac")
    other.write_bytes(b"of somebody else")
    store.delete([gone.number, kept.number])
    assert b"audio 0" not in [path.read_bytes() for path in store.audio_folder.rglob("*.flac")]
    assert store.unknown_files() == sorted([kept.audio.with_name(f"left-{kept.number}.flac"), other])


def test_deleting_a_missing_utterance_deletes_nothing(store):
    store.add([new(0)])
    with pytest.raises(BadInputError):
        store.delete([1, 99])
    assert store.get(1).audio.exists()


@pytest.mark.parametrize("name", ["a/b", "..\\x", "a\nb", "x" * 101, "\N{RIGHT-TO-LEFT OVERRIDE}abc"])
def test_invalid_names_are_refused(store, name):
    with pytest.raises(BadInputError, match="cannot be the name"):
        store.add([new(domain=name)])
    with pytest.raises(BadInputError, match="cannot be the name of a speaker"):
        store.add([new(speaker=name)])


def test_names_in_any_script_are_valid():
    for name in ("Küche", "台所", "d'Arc", "a.b"):
        assert checked_name(name, "domain") == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("x" * 10_000, "10000 characters; an utterance has at most 1000"),
        ("a\x07b", r"\\x07"),
        ("abc\N{RIGHT-TO-LEFT OVERRIDE}def", r"\\u202e"),
        ("zero\N{ZERO WIDTH SPACE}width", r"\\u200b"),
    ],
)
def test_invalid_texts_are_refused(text, message):
    with pytest.raises(BadInputError, match=message):
        checked_text(text)


@given(st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=MAX_TEXT_LENGTH))
def test_white_space_of_a_text_is_normalised(text):
    if not text.split():
        return
    once = checked_text(text)
    assert checked_text(once) == once
    assert once.split() == text.split()


def test_a_store_of_a_later_version_is_not_touched(tmp_path):
    Store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "store.sqlite3")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StorageError, match="later version of asr-edge"):
        Store(tmp_path)


def test_a_store_of_the_first_version_is_migrated(tmp_path, monkeypatch):
    monkeypatch.setattr("device_app.data.store.migrations.MIGRATIONS", MIGRATIONS[:1])
    Store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)
    connection.execute("INSERT INTO domain (name) VALUES ('kitchen')")
    connection.execute(
        "INSERT INTO utterance (domain_id, text, source, split, file, sha256, created, duration_s) "
        "VALUES (1, 'old words', 'recorded', 'train', 'ab/old.flac', 'x', '2026-01-01', 1.0)"
    )
    connection.close()
    monkeypatch.undo()
    with Store(tmp_path) as store:
        (old,) = store.utterances()
        assert (old.text, old.hypothesis, old.confidence) == ("old words", None, None)


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + bytes(84)])
def test_a_damaged_database_is_reported(tmp_path, damage):
    (tmp_path / "store.sqlite3").write_bytes(damage)
    with pytest.raises(StorageError, match=r"store\.sqlite3: is damaged .*'asr-edge doctor'"):
        Store(tmp_path)
    assert (tmp_path / "store.sqlite3").read_bytes() == damage


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        Store(tmp_path / "file")


def test_two_processes_may_write_at_once(tmp_path):
    with Store(tmp_path) as one, Store(tmp_path) as other:
        for index in range(10):
            one.add([new(index)])
            other.add([new(100 + index)])
        assert one.stats() == other.stats()
        assert one.stats()[0].utterances == 20


def test_a_domain_holds_a_recording_once(store):
    (first,) = store.add([new(0), new(0, text="the same again")])
    assert store.add([new(0)]) == []
    (other,) = store.add([new(0, domain="garden"), new(0)])
    assert [u.text for u in store.utterances("kitchen")] == ["some words"]
    assert other.domain == "garden"
    assert store.find("kitchen", first.sha256) == first
    assert len([path for path in store.audio_folder.rglob("*") if path.is_file()]) == 2


@pytest.mark.parametrize("is_in_quarantine", [False, True])
def test_a_deletion_removes_what_a_killed_process_left_half_written(store, is_in_quarantine):
    (first, second) = store.add([new(0, speaker="anna"), new(1)])
    killed = "0123456789abcdef.tmp"
    (store.folder / "quarantine").mkdir()
    paths = [
        store.folder / ".store.sqlite3.before-4.tmp",
        store.folder / ".store.sqlite3.before-4.tmp-journal",
        store.quarantine.folder / f".store.20260101T000000Z-01234567.sqlite3.{killed}",
        store.quarantine.folder / f".store.20260101T000000Z-01234567.sqlite3-wal.{killed}",
        store.quarantine.folder / f".utterances.jsonl.{killed}",
        store.quarantine.folder / f".{first.audio.name}.{killed}",
        first.audio.with_name(f".{first.audio.name}.{killed}"),
    ]
    for path in paths:
        path.write_bytes(b"half of what is deleted")
    if is_in_quarantine:
        store.remove_to_quarantine(first, "a reason")
        store.forget("anna")
    else:
        store.delete([first.number])
    assert not any(path.exists() for path in paths)
    assert second.audio.is_file()


def test_a_deleted_recording_may_be_added_again(store):
    (first,) = store.add([new(0)])
    store.delete([first.number])
    assert len(store.add([new(0)])) == 1


def test_a_recording_is_not_moved_to_a_domain_that_has_it(store):
    store.add([new(0), new(1), new(0, domain="garden"), new(0, domain="attic")])
    with pytest.raises(
        BadInputError, match=r"utterance 1: 'garden' has the same recording as utterance 3; nothing was"
    ):
        store.move([2, 1], "garden")
    with pytest.raises(BadInputError, match="nothing was changed"):
        store.move([1, 4], "cellar")
    assert {u.number: u.domain for u in store.utterances()} == {1: "kitchen", 2: "kitchen", 3: "garden", 4: "attic"}
    store.move([1], "kitchen")


def test_a_text_and_a_move_are_one_change(store):
    store.add([new(0), new(0, domain="garden")])
    before = store.get(1)
    with pytest.raises(BadInputError, match="nothing was changed"):
        store.set_text(1, "new words", "garden")
    assert store.get(1) == before
    store._connection.sql.execute(
        "CREATE TEMP TRIGGER fail BEFORE UPDATE OF text ON utterance BEGIN SELECT RAISE(ABORT, 'killed'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="killed"):
        store.set_text(1, "new words", "cellar")
    assert store.get(1) == before
    store._connection.sql.execute("DROP TRIGGER fail")
    changed = store.set_text(1, "new words", "cellar")
    assert (changed.text, changed.domain) == ("new words", "cellar")
    assert store.set_text(1, "other words").domain == "cellar"
    with pytest.raises(BadInputError):
        store.set_text(1, "new words", "a/b")


def test_a_hypothesis_is_the_latest_until_the_text_was_compared_with_it(store):
    unlabelled, labelled = store.add([new(0, text=None), new(1, text="some words")])
    for number, later in ((unlabelled.number, "later"), (labelled.number, "first")):
        assert store.set_hypothesis(number, "first", 0.5).hypothesis == "first"
        assert store.set_hypothesis(number, "later", 0.7).hypothesis == later
    assert store.set_text(unlabelled.number, "later").source == unlabelled.source
    assert store.set_hypothesis(unlabelled.number, "latest", 0.9).hypothesis == "later"


def test_a_recording_is_not_replaced_by_another_stored_one(store):
    first, _ = store.add([new(0), new(1)])
    with pytest.raises(BadInputError, match="the same recording as utterance 2"):
        store.replace(first, new(1))
    assert store.get(1) == first
    assert sorted(path.read_bytes() for path in store.audio_folder.rglob("*.flac")) == [b"audio 0", b"audio 1"]
    assert store.replace(first, new(0, text="other words")).text == "other words"


@pytest.fixture
def old_store(tmp_path):
    """A store as 0.1.0 wrote it before a recording could be in a domain but once, after two imports at a time."""

    def make(*rows):
        with Store(tmp_path) as store:
            allow_duplicates(store)
            for number, row in enumerate(rows):
                (kept,) = store.add([new(1000 + number, **row)])
                content = new(0).recorded
                kept.audio.write_bytes(content.flac)
                store._connection.sql.execute(
                    "UPDATE utterance SET sha256 = ? WHERE id = ?", (content.sha256, kept.number)
                )
            store._connection.sql.execute("UPDATE utterance SET split = 'train'")
            downgrade_to_3(store)
        return tmp_path

    return make


def test_a_migration_removes_duplicates_and_nothing_else(old_store):
    folder = old_store({"text": None}, {"text": "first"}, {"text": "second", "speaker": "anna"}, {"domain": "garden"})
    with Store(folder) as store:
        assert {u.domain: (u.number, u.text) for u in store.utterances()} == {
            "kitchen": (2, "first"),
            "garden": (4, "some words"),
        }
        assert all(u.audio.read_bytes() == b"audio 0" for u in store.utterances())
        assert len(list(store.audio_folder.rglob("*.flac"))) == 2
        told = sorted((r["id"], r["text"], r["domain"], r["speaker"], r["reason"]) for r in store.quarantine.records())
        assert told == [
            (1, None, "kitchen", None, "is the same recording as utterance 2"),
            (3, "second", "kitchen", "anna", "is the same recording as utterance 2"),
        ]
        assert store.add([new(0)]) == []
    copy = folder / "store.sqlite3.before-4"
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM utterance").fetchone() == (4,)
    with Store(folder) as store:
        assert len(list(store.utterances())) == 2


def test_a_store_without_duplicates_is_copied_before_its_migration_too(old_store):
    folder = old_store({})
    with Store(folder) as store:
        assert len(list(store.utterances())) == 1
    assert [path.name for path in folder.glob("*before*")] == ["store.sqlite3.before-4"]
    assert not (folder / "quarantine").exists()


def test_a_corrected_duplicate_is_preferred(old_store):
    folder = old_store({"text": "as imported"}, {"text": "as corrected"})
    with closing(sqlite3.connect(folder / "store.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE utterance SET source = 'corrected' WHERE id = 2")
    with Store(folder) as store:
        assert [u.text for u in store.utterances()] == ["as corrected"]


def test_a_recording_that_one_duplicate_holds_out_stays_held_out(old_store):
    folder = old_store({}, {})
    with closing(sqlite3.connect(folder / "store.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE utterance SET split = 'test' WHERE id = 2")
    with Store(folder) as store:
        assert [(u.number, u.split) for u in store.utterances()] == [(1, "test")]


def test_the_audio_of_a_duplicate_is_used_if_that_of_the_other_is_missing(old_store):
    folder = old_store({"text": "first"}, {"text": "second"})
    with closing(sqlite3.connect(folder / "store.sqlite3")) as connection:
        (file,) = connection.execute("SELECT file FROM utterance WHERE id = 1").fetchone()
    (folder / "audio" / file).unlink()
    with Store(folder) as store:
        (kept,) = store.utterances()
        assert (kept.number, kept.text) == (1, "first")
        assert kept.audio.read_bytes() == b"audio 0"


def test_duplicates_that_were_edited_are_kept(old_store):
    folder = old_store({"text": "first"}, {"text": "second"})
    with closing(sqlite3.connect(folder / "store.sqlite3")) as connection:
        (file,) = connection.execute("SELECT file FROM utterance WHERE id = 2").fetchone()
    (folder / "audio" / file).write_bytes(b"edited by hand")
    with Store(folder) as store:
        assert [(u.text, u.audio.read_bytes()) for u in store.utterances()] == [
            ("first", b"audio 0"),
            ("second", b"edited by hand"),
        ]


def test_migrating_a_store_whose_disk_is_missing_keeps_its_audio(old_store, tmp_path):
    folder = old_store({"text": "first"}, {"text": "second"})
    (folder / "audio").rename(folder / "disk")
    with Store(folder) as store:
        assert [u.text for u in store.utterances()] == ["first"]
    assert len(list((folder / "disk").rglob("*.flac"))) == 2


def test_a_deletion_removes_the_copy_from_before_the_migration(old_store):
    folder = old_store({"text": "a secret sentence"}, {"text": "another secret"})
    with Store(folder) as store:
        store.delete([1])
        assert not [path for path in folder.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_two_processes_may_migrate_at_once(old_store):
    folder = old_store({"text": "first"}, {"text": "second"})
    code = (
        "import sys; from pathlib import Path; from device_app.data.store import Store; "
        "Store(Path(sys.argv[1])).close()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, folder]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with Store(folder) as store:
        assert [u.text for u in store.utterances()] == ["first"]
        assert len(store.quarantine.records()) == 1
