import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from editing.errors import BadInputError, BlockedError, StorageError
from editing.lock import locked

FLOCK = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    sys.stdin.read()
"""
LOCKED = """
import sys
from pathlib import Path
from editing.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(code, path):
    """Starts another process that holds the lock until it is killed or its input ends."""
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def try_to_hold(code, path):
    return subprocess.run([sys.executable, "-c", code, path], input="", capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [FLOCK, LOCKED])
def test_a_lock_excludes_other_processes_including_those_that_call_flock(tmp_path, code):
    path = tmp_path / "lock"
    with holder(code, path):
        with pytest.raises(BlockedError, match="lock: another process holds this lock; wait"), locked(path):
            pass
        with pytest.raises(BadInputError, match=r"^in use$"), locked(path, message="in use"):
            pass
    with locked(path):
        blocked = try_to_hold(code, path)
        assert blocked.returncode != 0
        assert "BlockingIOError" in blocked.stderr or "BlockedError" in blocked.stderr
    assert try_to_hold(code, path).stdout == "held\n"


@pytest.mark.parametrize("code", [FLOCK, LOCKED])
def test_the_lock_of_a_killed_process_is_free_although_its_file_remains(tmp_path, code):
    path = tmp_path / "lock"
    with holder(code, path) as process:
        process.kill()
        process.wait()
    assert path.is_file()
    with locked(path):
        pass


def test_locking_can_wait_for_the_lock(tmp_path):
    path = tmp_path / "lock"
    with holder(LOCKED, path) as process:
        threading.Timer(0.3, process.kill).start()
        with locked(path, wait=True):
            assert process.wait() != 0  # held only once the other process is gone


def test_a_lock_excludes_other_blocks_of_the_same_process_and_is_released_after_an_error(tmp_path):
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError, match="within"), locked(path):
        with pytest.raises(BlockedError), locked(path):
            pass
        raise RuntimeError("within")
    inode = path.stat().st_ino
    with locked(path):
        pass
    assert path.stat().st_ino == inode


def test_a_folder_may_be_removed_while_its_lock_is_held(tmp_path):
    folder = tmp_path / "candidate"
    folder.mkdir()
    with locked(folder / "in-use"):
        shutil.rmtree(folder)
    assert not folder.exists()


def test_a_lock_in_a_missing_folder_is_an_error_and_creates_nothing(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"), locked(tmp_path / "missing" / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []
