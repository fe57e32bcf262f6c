import json
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import encode
from device_app.data.recordings import recording_of
from device_app.data.repair.database import rebuild
from device_app.data.repair.utterances import examine, repair
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from editing.errors import StorageError


def audio(seed):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, 4000).astype(np.float32)


def new(seed, **more):
    return Utterance(**{"domain": "d", "text": "x", "source": "recorded"} | more, recording=recording_of(audio(seed)))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        opened.add([new(seed) for seed in range(3)])
        yield opened


def files(store):
    return {path for path in store.audio_folder.rglob("*") if path.is_file()}


def kinds(findings):
    return [finding.kind for finding in findings]


def repaired(store, **how):
    """Examines and repairs; returns the kinds of what was found."""
    findings = examine(store)
    repair(store, findings, **how)
    return kinds(findings)


def records(store):
    return store.quarantine.records()


def test_a_whole_store_has_no_findings(store):
    before = files(store)
    assert not examine(store)
    assert files(store) == before


def test_an_examination_changes_nothing(store):
    store.get(1).audio.unlink()
    store.get(2).audio.write_bytes(b"rubbish")
    (store.audio_folder / "orphan.flac").write_bytes(encode(audio(7)))
    before = {path: path.read_bytes() for path in files(store)}
    assert len(examine(store)) == 3
    assert {path: path.read_bytes() for path in files(store)} == before
    assert len(list(store.utterances())) == 3
    assert not store.quarantine.folder.exists()


def test_an_utterance_without_audio_keeps_its_label_in_the_quarantine(store):
    first = store.get(1)
    first.audio.unlink()
    (finding,) = examine(store)
    assert finding.line == f"utterance 1: its audio {first.audio} is missing"
    repair(store, [finding])
    assert [u.number for u in store.utterances()] == [2, 3]
    (record,) = records(store)
    assert (record["text"], record["domain"], record["speaker"]) == (first.text, first.domain, first.speaker)
    assert (record["sha256"], record["duration_s"], record["split"]) == (first.sha256, first.duration_s, first.split)
    assert record["reason"] == "its audio was missing"
    assert not examine(store)


def test_restored_audio_restores_its_utterance(store):
    before = store.get(1)
    data = before.audio.read_bytes()
    before.audio.unlink()
    repaired(store)
    before.audio.write_bytes(data)
    assert repaired(store) == ["recordings that were found again"]
    back = max(store.utterances(), key=lambda utterance: utterance.number)
    same = ("text", "domain", "speaker", "split", "source", "sha256", "created", "duration_s", "level_dbfs", "prompt")
    assert [getattr(back, name) for name in same] == [getattr(before, name) for name in same]
    assert back.audio.read_bytes() == data
    assert records(store) == []
    assert not examine(store)


def test_audio_that_was_moved_is_found_by_its_bytes(store):
    before = store.get(1)
    (store.audio_folder / "elsewhere").mkdir(0o700)
    before.audio.rename(store.audio_folder / "elsewhere" / "mine.flac")
    assert repaired(store) == ["recordings that were moved"]
    now = store.get(1)
    assert now.audio == store.audio_folder / "elsewhere" / "mine.flac"
    assert (now.text, now.sha256) == (before.text, before.sha256)
    assert not examine(store)


@pytest.mark.parametrize("absent", ["the folder", "its content", "most of it"])
def test_a_missing_disk_changes_nothing(store, absent, tmp_path):
    """What once happened: the audio folder was away for a moment, and twelve labels with it, for good."""
    aside = tmp_path / "disk"
    if absent == "most of it":
        for utterance in list(store.utterances())[:2]:
            utterance.audio.rename(tmp_path / utterance.audio.name)
    else:
        store.audio_folder.rename(aside)
        if absent == "its content":
            store.audio_folder.mkdir()
    with pytest.raises(StorageError, match=r"of 3 recordings are missing or damaged; nothing was changed. Is the disk"):
        repair(store, examine(store))
    assert [u.text for u in store.utterances()] == ["x", "x", "x"]
    assert not store.quarantine.folder.exists()
    if absent == "most of it":
        for utterance in list(store.utterances())[:2]:
            (tmp_path / utterance.audio.name).rename(utterance.audio)
    else:
        if absent == "its content":
            store.audio_folder.rmdir()
        aside.rename(store.audio_folder)
    assert not examine(store)


def test_opening_a_store_does_not_create_the_folder_of_a_missing_disk(store, tmp_path):
    store.audio_folder.rename(tmp_path / "disk")
    with Store(tmp_path) as again:
        assert len(list(again.utterances())) == 3
    assert not store.audio_folder.exists()


def test_nothing_is_added_or_deleted_while_the_disk_is_missing(store, tmp_path):
    store.audio_folder.rename(tmp_path / "disk")
    for change in (lambda: store.add([new(9)]), lambda: store.delete([1]), lambda: store.replace(store.get(1), new(9))):
        with pytest.raises(StorageError, match="Is the disk mounted"):
            change()
    (tmp_path / "disk").rename(store.audio_folder)
    assert not examine(store)
    assert len(list(store.utterances())) == 3


def test_lost_recordings_are_removed_on_request(store):
    shutil.rmtree(store.audio_folder)
    assert repaired(store, missing_is_gone=True) == ["utterances whose audio is missing"] * 3
    assert list(store.utterances()) == []
    assert [record["text"] for record in records(store)] == ["x"] * 3
    assert not examine(store)
    assert store.add([new(9)])


def test_a_disk_that_is_mounted_later_restores_all_utterances(store, tmp_path):
    before = {(u.sha256, u.text, u.split, u.domain) for u in store.utterances()}
    store.audio_folder.rename(tmp_path / "disk")
    repaired(store, missing_is_gone=True)
    (tmp_path / "disk").rename(store.audio_folder)
    repaired(store)
    assert {(u.sha256, u.text, u.split, u.domain) for u in store.utterances()} == before


def test_a_disk_that_is_mounted_before_the_answer_changes_nothing(store, tmp_path):
    store.audio_folder.rename(tmp_path / "disk")
    findings = examine(store)
    (tmp_path / "disk").rename(store.audio_folder)
    repair(store, findings, missing_is_gone=True)
    assert len(list(store.utterances())) == 3
    assert not examine(store)


def test_a_text_that_was_changed_before_the_answer_is_quarantined(store):
    store.get(1).audio.unlink()
    findings = examine(store)
    store.set_text(1, "a better text")
    repair(store, findings)
    assert [record["text"] for record in records(store)] == ["a better text"]


def test_edited_audio_is_measured_again(store):
    first = store.get(1)
    first.audio.write_bytes(encode(audio(9)[:2000]))
    assert repaired(store) == ["recordings that were edited"]
    now = store.get(1)
    assert now.duration_s == 2000 / 16000
    assert (now.text, now.split) == (first.text, first.split)
    assert not examine(store)


def test_audio_that_was_edited_into_another_format_is_also_kept_in_that_format(store):
    path = store.get(1).audio
    soundfile.write(path, audio(9), 16000, format="WAV", subtype="FLOAT")
    edited = path.read_bytes()
    repaired(store)
    assert store.get(1).duration_s == 4000 / 16000
    assert [copy.read_bytes() for copy in store.quarantine.folder.glob("*.flac")] == [edited]
    assert not examine(store)


def test_an_utterance_whose_audio_was_overwritten_keeps_its_label(store):
    store.get(1).audio.write_bytes(store.get(2).audio.read_bytes())
    repaired(store)
    assert [u.number for u in store.utterances()] == [2, 3]
    assert [record["id"] for record in records(store)] == [1]
    assert not examine(store)


def test_damaged_audio_goes_into_the_quarantine_with_its_label(store):
    damaged = store.get(2).audio
    damaged.write_bytes(b"rubbish")
    assert repaired(store) == ["utterances whose audio is damaged"]
    assert [u.number for u in store.utterances()] == [1, 3]
    assert len(files(store)) == 2
    assert (store.quarantine.folder / damaged.name).read_bytes() == b"rubbish"
    assert [record["text"] for record in records(store)] == ["x"]
    assert not examine(store)


def test_audio_without_a_row_is_recovered(store):
    folder = store.audio_folder / "ab"
    folder.mkdir(0o700, exist_ok=True)
    (folder / "orphan.flac").write_bytes(encode(audio(7)))
    soundfile.write(folder / "other.wav", audio(8), 16000, subtype="FLOAT")
    wav = (folder / "other.wav").read_bytes()
    (folder / "rubbish.flac").write_bytes(b"rubbish")
    (folder / ".x.flac.1234.tmp").write_bytes(b"half")
    found = repaired(store)
    assert sorted(found) == [
        "files that are not audio",
        "half-written files",
        *["recordings without an utterance"] * 2,
    ]
    recovered = list(store.utterances("recovered"))
    assert [u.text for u in recovered] == [None, None]
    assert encode(audio(7)) in [u.audio.read_bytes() for u in recovered]
    assert len(files(store)) == 5
    assert (store.quarantine.folder / "rubbish.flac").read_bytes() == b"rubbish"
    assert (store.quarantine.folder / "other.wav").read_bytes() == wav
    assert not examine(store)


def test_audio_of_a_lost_database_is_recovered(store, tmp_path):
    before = {u.audio.read_bytes() for u in store.utterances()}
    store.close()
    for path in tmp_path.glob("store.sqlite3*"):
        path.unlink()
    with pytest.raises(StorageError, match="it is missing, but there are recordings"):
        Store(tmp_path)
    rebuild(tmp_path)
    with Store(tmp_path) as fresh:
        assert repaired(fresh) == ["recordings without an utterance"] * 3
        assert {u.audio.read_bytes() for u in fresh.utterances("recovered")} == before
        assert not examine(fresh)


def test_a_copy_of_a_stored_recording_is_removed(store):
    (store.audio_folder / "copy.flac").write_bytes(store.get(1).audio.read_bytes())
    assert repaired(store) == ["copies of recordings"]
    assert len(files(store)) == 3
    assert len(list(store.utterances())) == 3


def test_a_killed_deletion_is_finished(store):
    """Marked, its audio still there: what a kill between the steps of `delete` leaves."""
    store._connection.sql.execute("UPDATE utterance SET deleted = 1 WHERE id = 1")
    assert repaired(store) == ["deletions that were not finished"]
    assert len(files(store)) == 2
    assert [u.number for u in store.utterances()] == [2, 3]


def test_files_that_others_can_read_are_made_private(store):
    path = store.get(1).audio
    path.chmod(0o644)
    assert repaired(store) == ["files and folders that other users can read"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("forget", ["delete", "forget"])
def test_deletion_includes_the_quarantine(store, tmp_path, forget):
    (kept,) = store.add([new(5, speaker="berta", text="a secret sentence")])
    kept.audio.write_bytes(b"rubbish")
    repaired(store)
    assert [record["text"] for record in records(store)] == ["a secret sentence"]
    if forget == "forget":
        assert store.forget("berta") == 1
    else:
        store.delete([again.number for again in store.add([new(5, domain="e")])])
    assert records(store) == []
    assert list(store.quarantine.folder.glob("*.flac")) == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_damaged_quarantine_is_reported_and_not_changed(store):
    store.quarantine.folder.mkdir()
    path = store.quarantine.folder / "utterances.jsonl"
    path.write_text("{half\n")  # a whole line: one that is cut off is what a kill leaves
    store.get(1).audio.unlink()
    with pytest.raises(StorageError, match=r"utterances\.jsonl: is damaged"):
        repair(store, examine(store))
    assert path.read_text() == "{half\n"
    assert len(list(store.utterances())) == 3


def test_an_edited_record_does_not_stop_the_recovery(store):
    data = store.get(1).audio.read_bytes()
    store.get(1).audio.unlink()
    repaired(store)
    path = store.quarantine.folder / "utterances.jsonl"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "domain": "a/b"}))
    (store.audio_folder / "back.flac").write_bytes(data)
    repaired(store)
    assert [u.sha256 for u in store.utterances("recovered")] == [record["sha256"]]


IMPORT = """
import sys
from pathlib import Path
from device_app.data.corpora import find_utterances
from device_app.data.importing import import_utterances
from device_app.data.store import Store
with Store(Path(sys.argv[1])) as store:
    if sys.argv[3] == "delete":
        store.delete([u.number for u in store.utterances("d")][::2])
    def confirmed(count):
        print(sum(s.utterances for s in store.stats()), flush=True)
    confirmed(0)
    import_utterances(store, find_utterances(Path(sys.argv[2]))[1], "d", on_done=confirmed)
"""


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_of_import_and_delete_loses_nothing_confirmed(tmp_path, kills):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = []
    for index in range(300):
        (corpus / f"{index}.flac").write_bytes(encode(audio(index)))
        lines.append(json.dumps({"audio": f"{index}.flac", "text": f"utterance {index}"}))
    (corpus / "m.jsonl").write_text("\n".join(lines))
    moments = random.Random(0)
    home = tmp_path / "home"
    for turn in range(kills):
        command = [sys.executable, "-c", IMPORT, home, corpus / "m.jsonl", "delete" if turn % 4 == 3 else "import"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            time.sleep(moments.uniform(0.1, 0.9))
            process.kill()
            confirmed = [int(line) for line in process.communicate()[0].splitlines()]
        with Store(home) as store:
            held = {u.number: u.sha256 for u in store.utterances()}
            assert len(held) >= (confirmed[-1] if confirmed else 0)
            repaired(store)
            assert held.items() <= {u.number: u.sha256 for u in store.utterances()}.items()
            assert len(files(store)) == len(list(store.utterances()))
            assert not examine(store)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, home, corpus / "m.jsonl", "import"], check=True, capture_output=True
    )
    assert done.returncode == 0
    with Store(home) as store:
        assert {u.text for u in store.utterances("d")} == {f"utterance {index}" for index in range(300)}


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_to_a_recording_is_not_a_copy(store, linked):
    """What once happened: the file that the link led to was removed as a copy, and it was the only one."""
    audio = store.get(1).audio
    real = audio if linked == "file" else audio.parent
    moved = real.rename(store.audio_folder / "moved")
    real.symlink_to(moved)
    repair(store, examine(store))
    assert audio.is_file()
    assert {u.number for u in store.utterances()} == {1, 2, 3}
