"""A backup has all that a user cannot make again, and a restored data folder is the one that was backed up."""

import json
import shutil
import sqlite3
import tarfile
from contextlib import closing

import pytest

from device_app.backup.create import back_up
from device_app.backup.restore import UNFINISHED, finish_earlier, kept_folders, prepared
from device_app.data.store import Store
from device_app.models.bundles import embedded_bundle
from device_app.models.ledger import Ledger
from editing.errors import AsrEdgeError, BadInputError, BlockedError, StorageError
from tests.data_folder import add_edit, everything
from tests.device_app.data.downgrade import allow_duplicates, downgrade_to_3
from tests.device_app.data.repair.test_utterances import new


def restored(path):
    with prepared(path) as found:
        return found.put_in_place()


def names(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_what_was_backed_up_comes_back(filled_home, tmp_path):
    before = everything(filled_home)
    found = back_up(tmp_path / "b.tar")
    assert (found.recordings, found.edits, found.left_out) == (6, 2, [])
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    shutil.rmtree(filled_home)
    assert restored(tmp_path / "b.tar") is None
    assert everything(filled_home) == before


def test_the_replaced_folder_is_kept(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    with Store() as store:
        store.add([new(99, domain="later")])
    kept = restored(tmp_path / "b.tar")
    assert kept_folders(filled_home) == [kept]
    with Store(kept) as store:
        assert store.domains() == ["garden", "kitchen", "later"]
    with Store() as store:
        assert store.domains() == ["garden", "kitchen"]
    assert not (filled_home / UNFINISHED).exists()
    assert all(path.stat().st_mode & 0o077 == 0 for path in filled_home.rglob("*"))


def test_baked_files_and_deleted_utterances_are_not_in_a_backup(filled_home, tmp_path):
    (filled_home / "baked").mkdir()
    (filled_home / "baked" / "x").write_bytes(b"x")
    with Store() as store:
        gone = next(store.utterances("kitchen"))
        store._connection.sql.execute(
            "UPDATE utterance SET deleted = 1, text = 'forget me' WHERE id = ?", (gone.number,)
        )
    back_up(tmp_path / "b.tar")
    assert not any(name.startswith("baked") for name in names(tmp_path / "b.tar"))
    assert f"audio/{gone.audio.relative_to(filled_home / 'audio')}" not in names(tmp_path / "b.tar")
    assert b"forget me" not in (tmp_path / "b.tar").read_bytes()


def test_recordings_that_are_added_and_deleted_meanwhile(filled_home, tmp_path, monkeypatch):
    """The database is copied last, so it names no recording that is missing from the backup."""
    with Store() as store:
        first = next(store.utterances("kitchen"))
        started = []

        def change(_bytes):
            if not started:
                started.append(True)
                store.add([new(77, domain="meanwhile")])
                store.delete([first.number])

        found = back_up(tmp_path / "b.tar", change)
    assert found.recordings == 6
    restored(tmp_path / "b.tar")
    with Store() as store:
        assert store.domains() == ["garden", "kitchen", "meanwhile"]
        assert all(one.audio.is_file() for one in store.utterances())
        assert len(list(store.audio_folder.rglob("*.flac"))) == 6


def test_a_missing_recording_and_a_damaged_vector_are_named(filled_home, tmp_path):
    with Store() as store:
        next(store.utterances("kitchen")).audio.unlink()
    vector = next((filled_home / "ledgers").rglob("*.safetensors"))
    vector.write_bytes(vector.read_bytes()[:-1])
    found = back_up(tmp_path / "b.tar")
    assert found.left_out[0].startswith(f"{vector} is damaged")
    assert "1 recording missing" in found.left_out[1]


def test_an_older_store_is_migrated_and_a_copy_of_it_is_kept(filled_home, tmp_path):
    with Store() as store:
        allow_duplicates(store)
        downgrade_to_3(store)
    # `back_up` would migrate it, so that this backup is made as an earlier asr-edge made it.
    back_up(tmp_path / "b.tar")
    assert (filled_home / "store.sqlite3.before-4").is_file()
    with closing(sqlite3.connect(filled_home / "store.sqlite3.before-4")) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (3,)
    restored(tmp_path / "b.tar")
    with Store() as store:
        assert len(list(store.utterances())) == 6


def test_a_writer_that_opened_the_replaced_store_does_not_write_into_it(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    with Store() as store:
        restored(tmp_path / "b.tar")
        with pytest.raises(StorageError, match="was replaced while this command ran"):
            store.add([new(98)])


def test_a_ledger_that_is_being_changed_is_not_replaced(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    ledger = Ledger(embedded_bundle())
    with ledger.changing(), pytest.raises(BlockedError):
        restored(tmp_path / "b.tar")
    assert kept_folders(filled_home) == []
    add_edit(ledger, "later", 5)


def test_a_host_is_not_replaced(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    (filled_home / "host").mkdir()
    with pytest.raises(BadInputError, match="move that folder away, restore, and move it back"):
        restored(tmp_path / "b.tar")


def test_a_linked_data_folder_stays_a_link(filled_home, tmp_path, monkeypatch):
    back_up(tmp_path / "b.tar")
    (tmp_path / "link").symlink_to(filled_home)
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "link"))
    restored(tmp_path / "b.tar")
    assert (tmp_path / "link").is_symlink()
    assert (filled_home / "store.sqlite3").is_file()


def test_a_killed_restore_is_tidied_up(filled_home):
    never_used = filled_home.with_name(f".{filled_home.name}.restore-0123456789abcdef")
    replaced = filled_home.with_name(f".{filled_home.name}.restore-fedcba9876543210")
    for folder in (never_used, replaced):
        folder.mkdir()
        (folder / "store.sqlite3").touch()
    (never_used / UNFINISHED).touch()
    finish_earlier(filled_home)
    (kept,) = kept_folders(filled_home)
    assert not never_used.exists()
    assert (kept / "store.sqlite3").exists()


def test_a_backup_in_the_data_folder_of_a_ledger_of_a_later_asr_edge_is_refused(filled_home, tmp_path):
    path = Ledger(embedded_bundle()).path
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "format_version": 2}), "utf-8")
    with pytest.raises(AsrEdgeError, match="format version 2; this asr-edge reads version 1"):
        back_up(tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()
    assert list(tmp_path.glob(".b.tar*")) == []
