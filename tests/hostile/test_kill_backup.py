"""kill -9 at random moments of backup and restore: the file is whole or absent, the data old or new, and both open."""

import os
import random
import subprocess
import sys
import time

import pytest

from device_app.backup.create import back_up
from device_app.backup.restore import kept_folders
from device_app.data.store import Store
from tests.data_folder import everything
from tests.device_app.data.repair.test_utterances import new

pytestmark = pytest.mark.slow
KILLS = 50
# In one process without the start of Python's imports, so that the kills fall into the work itself.
SCRIPT = """
import sys
from pathlib import Path
from device_app.cli import application
import device_app.backup.create, device_app.backup.restore
print("ready", flush=True)
application()(sys.argv[1:])
"""


def killed(rng, longest_s, *command):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    process.stdout.readline()
    time.sleep(rng.uniform(0, longest_s))
    process.kill()
    process.communicate()


def timed(*command):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    process.stdout.readline()
    began = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return time.monotonic() - began


def test_backup(filled_home, tmp_path):
    rng = random.Random(0)
    with Store() as store:
        store.add([new(seed, domain="more") for seed in range(1000, 1200)])
    path = tmp_path / "b.tar"
    took = timed("backup", path)
    whole = path.stat().st_size
    written = 0
    for _ in range(KILLS):
        path.unlink(missing_ok=True)
        killed(rng, 1.1 * took, "backup", path)
        written += path.exists()
        assert not path.exists() or abs(path.stat().st_size - whole) < 20_000
    timed("backup", path, "--overwrite")
    assert list(tmp_path.glob(".b.tar*")) == []  # the unfinished ones are gone
    print(f"{written} of {KILLS} backups were complete before the kill")


def test_restore(filled_home, tmp_path):
    rng = random.Random(0)
    states = []
    for seed in (2000, 3000):
        with Store() as store:
            store.add([new(seed + n, domain=f"more {seed}") for n in range(100)])
        states.append(everything(filled_home))
        back_up(tmp_path / f"{seed}.tar")
    took = timed("restore", tmp_path / "2000.tar", "--yes")
    seen = [0, 0]
    for _ in range(KILLS):
        now = 0 if everything(filled_home) == states[0] else 1
        other = 1 - now
        killed(rng, 1.1 * took, "restore", tmp_path / f"{(2000, 3000)[other]}.tar", "--yes")
        found = everything(filled_home)
        assert found in states
        seen[found == states[other]] += 1
        for folder in kept_folders(filled_home):  # whole data, or one that no restore has used
            os.environ["ASR_EDGE_HOME"] = str(folder)
            try:
                if not (folder / "restore-unfinished").exists() and (folder / "store.sqlite3").exists():
                    assert everything(folder) in states
            finally:
                os.environ["ASR_EDGE_HOME"] = str(filled_home)
    timed("restore", tmp_path / "2000.tar", "--yes")
    assert everything(filled_home) == states[0]
    assert not list(filled_home.parent.glob(f".{filled_home.name}.restore-*"))
    print(f"{seen[0]} kills left the old data, {seen[1]} the new")
