"""Truncation, a flipped byte and absence of each file that matters: one line, and a remedy that loses nothing.

With a backup, `asr-edge restore` brings back everything. What this cannot show: SQLite takes a damaged or missing end
of its write-ahead log for a change that was never confirmed, so that only `asr-edge doctor` finds its recordings.
"""

import shutil
from pathlib import Path

import pytest

from device_app.data.store import Store
from device_app.models.baking import baked
from device_app.models.bundles import EMBEDDED, embedded_bundle, models_folder
from device_app.models.ledger import Ledger
from device_app.remote.jobs import jobs
from tests.data_folder import HOST, everything
from tests.device_app.cli.conftest import call
from tests.device_app.data.repair.test_utterances import new

WAYS = ("truncated", "flipped", "absent")


def damage(path: Path, way: str, at: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    if way == "absent":
        path.unlink()
    elif way == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2 if at is None else at] ^= 0xFF
        path.write_bytes(data)


def fails(*command: object) -> str:
    """The error of a command, which must be one line without a traceback."""
    line = call(*command, code=1).stderr
    assert line.startswith("asr-edge: ")
    assert line.count("\n") == 1
    return line


@pytest.fixture
def backup(filled_home, tmp_path):
    """A backup of the data folder; afterwards nothing in that folder has changed."""
    call("backup", tmp_path / "b.tar")
    return tmp_path / "b.tar"


def restores(backup, home, before):
    call("restore", backup, "--yes")
    assert everything(home) == before


@pytest.mark.parametrize("way", WAYS)
def test_database(way, backup, filled_home):
    before = everything(filled_home)
    damage(filled_home / "store.sqlite3", way, at=0)
    line = fails("dataset", "list")
    assert "store.sqlite3: is" in line
    assert "'asr-edge restore FILE'" in line
    restores(backup, filled_home, before)


@pytest.mark.parametrize("way", WAYS)
def test_database_without_a_backup_keeps_every_recording(way, filled_home):
    before = {audio for *_, audio in everything(filled_home)["utterances"]}
    damage(filled_home / "store.sqlite3", way, at=0)
    assert "'asr-edge doctor'" in fails("dataset", "list")
    call("doctor", "--yes")
    assert {audio for *_, audio in everything(filled_home)["utterances"]} == before


@pytest.mark.parametrize("way", WAYS)
def test_write_ahead_log(way, filled_home, tmp_path):
    """The log of a killed process holds the last utterance."""
    with Store() as store:
        store.add([new(70, domain="last")])
        killed = tmp_path / "killed"
        shutil.copytree(filled_home, killed)
    shutil.rmtree(filled_home)
    shutil.copytree(killed, filled_home)
    before = {audio for *_, audio in everything(killed)["utterances"]}
    log = filled_home / "store.sqlite3-wal"
    damage(log, way, at=0)
    if way == "flipped":
        assert "its write-ahead log has a damaged header" in fails("dataset", "list")
    call("doctor", "--yes")
    assert {audio for *_, audio in everything(filled_home)["utterances"]} == before


@pytest.mark.parametrize("way", WAYS)
def test_ledger(way, backup, filled_home):
    before = everything(filled_home)
    damage(Ledger(embedded_bundle()).path, way, at=0)
    line = fails("log")
    assert "ledger.json: is damaged" in line
    assert "'asr-edge restore FILE'" in line
    restores(backup, filled_home, before)


@pytest.mark.parametrize("way", WAYS)
def test_ledger_without_a_backup_loses_no_task_vector(way, filled_home):
    ledger = Ledger(embedded_bundle())
    vectors = {path.name for path in ledger.files.vectors.glob("*")}
    damage(ledger.path, way, at=0)
    call("doctor", "--yes", code=None)
    found = {path.name for folder in (ledger.files.vectors, ledger.files.quarantine) for path in folder.glob("*")}
    assert vectors <= found


@pytest.mark.parametrize("way", WAYS)
def test_task_vector(way, backup, filled_home, tmp_path):
    before = everything(filled_home)
    ledger = Ledger(embedded_bundle())
    damage(ledger.vector_path(ledger.edit(2).vectors[0]), way)
    for said in (fails("vector", "export", "2", tmp_path / "v.safetensors"), call("show", "2").stdout):
        assert "safetensors: is " in said
        assert "'asr-edge restore FILE'" in said
    assert not (tmp_path / "v.safetensors").exists()
    restores(backup, filled_home, before)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_installed_bundle(way, filled_home, tmp_path):
    folder = models_folder() / "mine"
    shutil.copytree(EMBEDDED, folder)
    call("backup", tmp_path / "b.tar")
    before = everything(filled_home)
    damage(folder / "tokenizer.json", way)
    line = fails("export", "--model", "mine", "--out", tmp_path / "out")
    assert "tokenizer.json: " in line
    assert "install the bundle again" in line
    restores(tmp_path / "b.tar", filled_home, before)
    assert (folder / "tokenizer.json").read_bytes() == (EMBEDDED / "tokenizer.json").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_baked_file(way, filled_home, bundle):
    """It is rebuilt without a word, because it can be."""
    path = next(baked(bundle).glob("encoder.onnx"))
    whole = path.read_bytes()
    damage(path, way)
    assert next(baked(bundle).glob("encoder.onnx")).read_bytes() == whole


@pytest.mark.parametrize("way", WAYS)
def test_hosts(way, backup, filled_home):
    before = everything(filled_home)
    damage(filled_home / "hosts.json", way, at=0)
    line = fails("fleet", "pull", "--group", "crew", "--on", HOST)
    assert ("asr-edge host trust" if way == "absent" else "'asr-edge restore FILE'") in line
    restores(backup, filled_home, before)


@pytest.mark.parametrize("way", WAYS)
def test_job(way, backup, filled_home):
    before = everything(filled_home)
    (job,) = jobs()
    damage(job.folder / "job.json", way, at=0)
    line = fails("jobs", "cancel", job.key[:8])
    assert ("there is no job" if way == "absent" else "'asr-edge restore FILE'") in line
    restores(backup, filled_home, before)


@pytest.mark.parametrize("way", WAYS)
def test_terms(way, backup, filled_home):
    before = everything(filled_home)
    damage(filled_home / "terms.json", way, at=0)
    if way != "absent":
        line = fails("terms", "list")
        assert "the list of terms is damaged" in line
        assert "'asr-edge restore FILE'" in line
    restores(backup, filled_home, before)


@pytest.mark.parametrize("way", WAYS)
def test_recording(way, backup, filled_home, tmp_path):
    """An absent one made `dataset export` say that the new folder could not be written."""
    before = everything(filled_home)
    with Store() as store:
        (one, *_) = store.utterances("kitchen")
    damage(one.audio, way)
    assert f"utterance {one.number}: " in call("doctor", "--dry-run", code=1).stdout
    if way == "absent":
        line = fails("dataset", "export", "--domain", "kitchen", "--out", tmp_path / "out")
        assert str(one.audio) in line
        assert "'asr-edge doctor'" in line
        assert not (tmp_path / "out").exists()
    restores(backup, filled_home, before)
