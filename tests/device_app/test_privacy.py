"""Nobody but its owner can read the data folder, whatever the umask; what is written elsewhere keeps the umask."""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from device_app.adaptation.settings import AdaptationSettings
from device_app.adaptation.training_set import TrainingSet
from device_app.audio.samples import encode
from device_app.data.recordings import recording_of
from device_app.data.repair.utterances import examine, repair
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.models.baking import baked, temporarily_baked
from device_app.models.ledger import Ledger
from device_app.paths import RECORDINGS, data_folder
from device_app.remote.jobs import pack_job
from device_app.remote.trusted_hosts import Host, save_host
from editing.task_vector import Origin, TaskVector
from tests.device_app.data.downgrade import allow_duplicates, downgrade_to_3

INVALID = RECORDINGS / "invalid.flac"


@pytest.fixture(params=[0o000, 0o022], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def own_home(tmp_path, monkeypatch, umask):
    """Where there is nothing yet."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "data" / "home"))
    return tmp_path / "data" / "home"


def open_to_others(folder):
    done = subprocess.run(["find", folder, "-perm", "/077"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_day_at_the_command_line(run, own_home, home, umask, tmp_path):
    def asr(*arguments, code=0):
        done = run(*arguments, ASR_EDGE_HOME=str(own_home))
        assert done.returncode == code, done.stderr
        assert open_to_others(own_home) == [], arguments
        return done

    (tmp_path / "in").mkdir()
    shutil.copy(INVALID, tmp_path / "in" / "a.flac")
    (tmp_path / "in" / "a.txt").write_text("what is said")
    (tmp_path / "out").mkdir()
    asr("transcribe", INVALID, "--save", "-o", tmp_path / "out" / "x.txt")
    asr("import", tmp_path / "in", "--domain", "d")
    asr("label", "set", 1, "what is said")
    asr("dataset", "export", "--domain", "d", "--out", tmp_path / "exported")
    asr("dataset", "move", 1, "--to", "e")
    asr("dataset", "delete", 1, "--yes")
    next((own_home / "audio").rglob("*.flac")).write_bytes(b"rubbish")
    asr("doctor", "--yes", "--missing-is-gone")
    assert (own_home / "quarantine" / "utterances.jsonl").is_file()
    asr("model", "list")
    asr("log")
    for path in (tmp_path / "out" / "x.txt", *(p for p in (tmp_path / "exported").rglob("*") if p.is_file())):
        assert path.stat().st_mode & 0o777 == 0o666 & ~umask, path
    assert (tmp_path / "exported").stat().st_mode & 0o777 == 0o777 & ~umask


def test_all_that_the_library_writes(own_home, bundle, tmp_path):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
    with Store() as store:
        store.add([Utterance(domain="d", text="x", recording=recording_of(audio))])
        assert (own_home / "store.sqlite3-wal").is_file()
        assert open_to_others(own_home) == []
    ledger = Ledger(bundle)
    weights = bundle.weights()
    with ledger.changing():
        ledger.store_vector(
            TaskVector({"proj_out.weight": np.zeros((1, 1), np.float32)}, Origin("f", "b", "d", utterances=1))
        )
        assert (ledger.folder / "lock").is_file()
    with temporarily_baked(bundle, weights) as folder:
        assert len(list(folder.iterdir())) > 1
        assert open_to_others(own_home) == []
    baked(bundle)
    save_host(Host("https://box:8443", "key", "authority", "secret"))
    (tmp_path / "a.flac").write_bytes(encode(audio))
    training_set = TrainingSet(
        bundle,
        [Utterance(audio=tmp_path / "a.flac", text="x")],
        [],
        Origin("f", bundle.weights_hash, "d", utterances=1),
    )
    job = pack_job(training_set, AdaptationSettings("d"), "https://box:8443", None, {})
    assert (job.folder / "dataset.tar").is_file()
    assert {path.name for path in own_home.iterdir()} >= {"audio", "baked", "hosts.json", "jobs", "ledgers"}
    assert open_to_others(own_home) == []


def test_the_copy_from_before_a_migration(own_home, monkeypatch):

    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)
    with Store() as store:
        allow_duplicates(store)
        (one, two) = store.add(
            [Utterance(domain="d", text="x", recording=recording_of(part)) for part in (audio, -audio)]
        )
        two.audio.write_bytes(one.audio.read_bytes())
        store._connection.sql.execute("UPDATE utterance SET sha256 = ?", (one.sha256,))
        downgrade_to_3(store)
    with Store():
        assert (own_home / "store.sqlite3.before-4").is_file()
        assert (own_home / "quarantine" / "utterances.jsonl").is_file()
        assert open_to_others(own_home) == []


@pytest.mark.parametrize("opened", ["with the library", "at the command line"])
def test_what_an_older_asr_edge_left_open_is_closed(own_home, run, opened):
    with Store() as store:
        store.add([Utterance(domain="d", text="x", recording=recording_of(np.zeros(1600, np.float32)))])
    for name in ("ledgers/ab/ledger.json", "jobs/cd/dataset.tar", "host/jobs/ef/dataset.tar", "models/m/model.json"):
        (own_home / name).parent.mkdir(parents=True)
        (own_home / name).write_text("{}")
    for path in (own_home, *own_home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    parent = own_home.parent.stat().st_mode
    if opened == "with the library":
        data_folder()
    else:
        assert json.loads(run("dataset", "list", "--json", ASR_EDGE_HOME=str(own_home)).stdout)[0]["utterances"] == 1
    assert open_to_others(own_home) == []
    assert own_home.parent.stat().st_mode == parent


def test_a_folder_with_other_things_in_it_keeps_their_modes(own_home):
    own_home.mkdir(parents=True)
    (own_home / "public_html").mkdir(0o755)
    (own_home / "public_html").chmod(0o755)
    Store().close()
    assert (own_home / "public_html").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("linked", [".", "audio", "store.sqlite3"])
def test_what_lies_behind_a_link_is_closed_too(own_home, tmp_path, linked):
    """The data folder, its audio folder or its database on another disk."""
    with Store() as store:
        store.add([Utterance(domain="d", text="x", recording=recording_of(np.zeros(1600, np.float32)))])
    moved = (own_home / linked).rename(tmp_path / "disk")
    (own_home / linked).symlink_to(moved)
    for path in (moved, *moved.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Store() as store:
        assert len(list(store.utterances())) == 1
    assert open_to_others(moved) == []


def test_doctor_finds_what_others_can_read_behind_a_link(own_home, tmp_path):
    with Store() as store:
        store.add([Utterance(domain="d", text="x", recording=recording_of(np.zeros(1600, np.float32)))])
    moved = (own_home / "audio").rename(tmp_path / "disk")
    (own_home / "audio").symlink_to(moved)
    (recording,) = moved.rglob("*.flac")
    recording.chmod(0o644)
    with Store() as store:
        (finding,) = examine(store)
        assert (finding.kind, finding.line) == ("files and folders that other users can read", str(recording))
        repair(store, [finding])
        assert examine(store) == []
    assert open_to_others(moved) == []
