"""A full disk: every command says so in one line with what to do, and deleting works. On a tmpfs of a few MB."""

import os
import subprocess

import pytest

from device_app.data.store import Store
from tests.data_folder import fill
from tests.device_app.cli.conftest import call
from tests.device_app.data.repair.test_utterances import new

SIZE = "4m"


@pytest.fixture
def full_disk(tmp_path, monkeypatch, bundle):
    """A filled data folder on a disk without a free byte; returns the function that fills the disk again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        monkeypatch.setenv("ASR_EDGE_HOME", str(disk / "home"))
        fill(with_job=False)
        with Store() as store:
            store.add([new(500 + n, domain="more") for n in range(6)])

        def exhaust():
            with (disk / "filler").open("ab", buffering=0) as filler:
                while True:
                    try:
                        filler.write(b"\0" * 4096)
                    except OSError:
                        return

        exhaust()
        assert os.statvfs(disk).f_bavail == 0
        yield exhaust
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_reading_works(full_disk):
    assert "kitchen" in call("dataset", "list").stdout
    assert "kitchen" in call("log").stdout
    assert "Kubernetes" in call("terms", "list").stdout


@pytest.mark.parametrize(
    "command",
    [
        ("label", "set", "1", "another text"),
        ("terms", "add", "Grafana"),
        ("dataset", "rename", "kitchen", "cooking"),
        ("revert", "1"),
        ("rollback",),
    ],
    ids=" ".join,
)
def test_writing_says_what_to_do(command, full_disk):
    done = call(*command, code=1)
    assert done.stderr.count("\n") == 1
    assert "nothing was changed" in done.stderr
    assert "free some space" in done.stderr


def test_deleting_works(full_disk):
    with Store() as store:
        more = [one.number for one in store.utterances("more")]
    call("dataset", "delete", more[0], "--yes")
    full_disk()
    call("dataset", "delete", "--domain", "more", "--yes")
    full_disk()
    call("dataset", "forget", "--speaker", "anna", "--yes")
    full_disk()
    call("forget", "--everything", "--yes")
    with Store() as store:
        assert store.stats() == []
        assert list(store.audio_folder.rglob("*.flac")) == []


def test_a_backup_leaves_nothing_behind(full_disk, tmp_path):
    line = call("backup", tmp_path / "disk" / "b.tar", code=1).stderr
    assert "free some space" in line
    assert {path.name for path in (tmp_path / "disk").iterdir()} == {"home", "filler"}
