"""`asr-edge doctor` and the ledger: it shows, asks, restores, and reports the faults that remain."""

import json
import shutil
from pathlib import Path

import pytest

from device_app.audio.samples import encode, read
from device_app.data.store import Store
from device_app.data.store.reattachment import new_file_name
from device_app.models.ledger import Edit, Ledger
from device_app.paths import RECORDINGS

SETTINGS = {"lam": 0.6, "density": 0.5}


@pytest.fixture
def damaged(ledger, vector):
    """Two edits, and then a ledger of rubbish."""
    for number, domain in enumerate("ab", 1):
        with ledger.changing():
            edit = Edit(number, "adapt", [domain], [ledger.store_vector(vector(domain, number))], "ties", SETTINGS)
            ledger.promote(ledger.with_edit(edit), edit)
    ledger.path.write_bytes(b"[" * 100_000)
    return ledger


@pytest.mark.parametrize("options", [("--dry-run",), (), ("--json", "--dry-run")])
def test_without_consent_nothing_changes(run, damaged, options):
    done = run("doctor", *options)
    assert done.returncode == 1
    assert f"{damaged.path}: nested too deep" in done.stdout
    assert damaged.path.read_bytes() == b"[" * 100_000
    assert not damaged.files.quarantine.exists()


def test_it_restores_the_ledger_and_reports_the_faults_that_remain(run, damaged, bundle):
    first = run("doctor", "--yes")
    assert first.returncode == 1
    assert "Damaged ledgers (1)" in first.stdout
    assert "Faults remain" in first.stderr
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]
    assert run("doctor", "--yes").returncode == 0
    last = run("doctor", "--json")
    assert last.returncode == 0
    assert {one["kind"] for one in json.loads(last.stdout)["findings"]} == {"unused files in quarantine"}
    assert "The edits and the model files made from them are in order." in run("doctor").stdout


def test_what_only_a_person_can_mend_stays_exit_code_1(run, ledger, vector):
    with ledger.changing():
        edit = Edit(1, "adapt", ["a"], [ledger.store_vector(vector("a"))], "ties", SETTINGS)
        ledger.promote(ledger.with_edit(edit), edit)
    shutil.rmtree(ledger.files.vectors)
    done = run("doctor", "--yes")
    assert done.returncode == 1
    assert "restore them from a backup, or revert their edits: asr-edge revert N" in done.stdout
    assert "Repaired" not in done.stderr


def test_it_says_that_the_ledger_is_gone_though_task_vectors_are_there(run, damaged):
    damaged.path.unlink()
    damaged.files.previous.unlink()
    done = run("doctor", "--dry-run")
    assert done.returncode == 1
    assert (
        f"{damaged.path}: is missing, and so is ledger.previous.json, but 2 task vectors are in 'vectors'"
        in done.stdout
    )
    assert "Missing ledgers (1): take ledger.json from a backup" in done.stdout
    assert "The edits and the model files made from them are in order." not in done.stdout


def test_a_ledger_from_a_backup_takes_its_task_vectors_back(run, damaged, bundle):
    backup = damaged.files.previous.read_bytes()  # of the first edit
    damaged.path.unlink()
    damaged.files.previous.unlink()
    assert run("doctor", "--yes").returncode == 0
    assert not list(damaged.files.vectors.iterdir())
    damaged.path.write_bytes(backup)
    run("doctor", "--yes")
    assert [edit.domain for edit in Ledger(bundle).edits] == ["a"]
    assert "The edits and the model files made from them are in order." in run("doctor").stdout


def test_after_a_killed_first_import_the_next_one_needs_no_backup(run, home):
    recording = RECORDINGS / "invalid.flac"
    with Store() as store:
        store.audio_folder.mkdir(mode=0o700)
        left = store.audio_folder / "0123456789abcdef.flac"  # written, but the rows were not
        left.write_bytes(encode(read(recording)))
        name = new_file_name()
        half_written = (store.audio_folder / name).with_name(f".{Path(name).name}.{'0f' * 8}.tmp")
        half_written.parent.mkdir(mode=0o700)
        half_written.write_bytes(b"fLaC")
        mine = store.audio_folder / ".mine.tmp"
        mine.write_bytes(b"mine")
    shown = run("doctor", "--dry-run")
    assert "If an import did not finish, nothing is lost: run the same import again" in shown.stderr
    assert run("import", recording, "--domain", "d").returncode == 0
    assert not half_written.exists()
    assert mine.exists()
    mine.unlink()
    shown = run("doctor", "--yes")
    assert (shown.returncode, "Copies of recordings (1): they are removed" in shown.stdout) == (0, True)
    with Store() as store:
        assert [one.domain for one in store.utterances()] == ["d"]
    assert not left.exists()
