import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from editing.errors import BadInputError, BlockedError, StorageError
from editing.files import (
    check_writable,
    folder_in_one_step,
    locked,
    make_folder,
    private_folder,
    refuse_overwriting,
    sha256,
    write_atomically,
)


def test_writing_replaces_the_file_and_leaves_no_temporary_files(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_file_has_the_permissions_that_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_path_of_the_wrong_kind_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"data")
    with pytest.raises(StorageError, match="cannot be written"):
        check_writable(tmp_path / "file" / "below")
    with pytest.raises(StorageError, match="Is a directory"):
        check_writable(tmp_path)


def test_a_full_disk_leaves_the_old_file_unchanged(tmp_path):
    """A limit on the file size simulates the full disk, because the write fails half-way in the same way."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from editing.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(Path(sys.argv[1]), bytes(100_000))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert "StorageError" in done.stderr
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "file"
    old, new = b"o" * 1_000_000, b"n" * 1_000_000
    code = (
        "import sys; from pathlib import Path; from editing.files import write_atomically\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    write_atomically(Path(sys.argv[1]), b'n' * 1_000_000)\n"
        "    write_atomically(Path(sys.argv[1]), b'o' * 1_000_000)\n"
    )
    path.write_bytes(old)
    for turn in range(10):
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.003 * turn)
            process.kill()
        assert path.read_bytes() in (old, new)


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    with folder_in_one_step(tmp_path / "made") as folder:
        (folder / "file").write_text("data")
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made" / "file").read_text() == "data"
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_folder_does_not_appear_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), folder_in_one_step(tmp_path / "made") as folder:
        (folder / "file").write_text("data")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_touched(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInputError, match="already in use"), folder_in_one_step(tmp_path):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_sha256_of_nothing_is_the_published_one(tmp_path):
    Path(tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def other_spelling(path):
    return path.parent / "sub" / ".." / path.name


def hard_link(path):
    (path.parent / "linked").hardlink_to(path)
    return path.parent / "linked"


def symbolic_link(path):
    (path.parent / "linked").symlink_to(path)
    return path.parent / "linked"


def through_a_linked_folder(path):
    (path.parent / "elsewhere").symlink_to(path.parent)
    return path.parent / "elsewhere" / path.name


@pytest.mark.parametrize("spelled", [Path, other_spelling, hard_link, symbolic_link, through_a_linked_folder])
def test_an_output_path_that_is_an_input_is_refused_in_every_spelling(tmp_path, spelled):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "recording.flac"
    path.write_bytes(b"mine")
    with pytest.raises(BadInputError, match=r"input.*; nothing was changed"):
        refuse_overwriting([tmp_path / "new", spelled(path)], [tmp_path / "other", path])


def test_outputs_that_are_not_inputs_are_accepted(tmp_path):
    for name in ("in", "out"):
        (tmp_path / name).write_bytes(b"the same content")
    refuse_overwriting(
        [tmp_path / "out", tmp_path / "new", tmp_path], [tmp_path / "in", tmp_path / "missing", tmp_path]
    )
    refuse_overwriting([Path("/dev/null")], [Path("/dev/null")])


def modes(folder):
    return {path.name: path.lstat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_only_the_owner_can_read_below_a_private_folder_with_any_umask(tmp_path, umask):
    private = private_folder(tmp_path / "parent" / "private")
    make_folder(private / "a" / "b")
    write_atomically(private / "c" / "file", b"")
    with folder_in_one_step(private / "d") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "deep").write_text("")
    found = modes(private)
    assert {found[name] for name in ("private", "a", "b", "c", "d", "inner")} == {0o700}
    assert {found[name] for name in ("file", "deep")} == {0o600}
    assert (tmp_path / "parent").stat().st_mode & 0o777 == 0o777 & ~umask


def test_beside_a_private_folder_the_umask_applies(tmp_path, umask):
    private_folder(tmp_path / "private")
    write_atomically(tmp_path / "private-not" / "file", b"")
    assert modes(tmp_path / "private-not") == {"private-not": 0o777 & ~umask, "file": 0o666 & ~umask}


def test_a_folder_readable_by_others_is_made_private(tmp_path):
    folder = tmp_path / "data"
    (folder / "audio" / "ab").mkdir(parents=True)
    (folder / "audio" / "ab" / "x.flac").write_bytes(b"")
    (folder / "mine").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "audio" / "link").symlink_to(outside)
    for path in (outside, *folder.rglob("*"), folder):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    parent = tmp_path.stat().st_mode
    private_folder(folder, ["audio", "missing"])
    found = modes(folder)
    assert (found["data"], found["audio"], found["ab"], found["x.flac"]) == (0o700, 0o700, 0o700, 0o600)
    assert found["mine"] == 0o755, "a folder that is not named belongs to the user"
    assert outside.stat().st_mode & 0o777 == 0o755
    assert tmp_path.stat().st_mode == parent


def test_the_target_of_a_private_folder_that_is_a_link_is_made_private(tmp_path):
    real = tmp_path / "disk" / "data"
    (real / "audio").mkdir(parents=True)
    (real / "audio" / "x.flac").write_bytes(b"")
    (real / "mine").mkdir()
    for path in (real.parent, real, *real.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "link").symlink_to(real)
    private_folder(tmp_path / "link", ["audio"])
    assert modes(real) == {"data": 0o700, "audio": 0o700, "x.flac": 0o600, "mine": 0o755}
    assert real.parent.stat().st_mode & 0o777 == 0o755


def test_only_named_links_in_a_private_folder_are_followed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("audio", "models"):
        (tmp_path / "disk" / name / "ab").mkdir(parents=True)
        (tmp_path / "disk" / name / "ab" / "file").write_bytes(b"")
        (folder / name).symlink_to(tmp_path / "disk" / name)
    (folder / "jobs").symlink_to(tmp_path)  # its target contains the data folder itself
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, *tmp_path.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    private_folder(folder, ["audio", "models", "jobs", "broken"], linked=["audio", "jobs", "broken"])
    assert modes(tmp_path / "disk" / "audio") == {"audio": 0o700, "ab": 0o700, "file": 0o600}
    assert modes(tmp_path / "disk" / "models") == {"models": 0o755, "ab": 0o755, "file": 0o644}
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_the_target_of_a_link_keeps_its_mode_if_another_user_owns_it(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o755)
    os.chown(theirs, 12345, 12345)
    (tmp_path / "home").symlink_to(theirs)
    private_folder(tmp_path / "home")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "audio").symlink_to(theirs)
    private_folder(tmp_path / "data", ["audio"], linked=["audio"])
    assert theirs.stat().st_mode & 0o777 == 0o755


def test_a_shared_folder_with_the_sticky_bit_is_unchanged(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    private_folder(tmp_path / "shared")
    assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o1777


def test_a_folder_of_another_owner_is_not_an_error(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir(0o755)

    def refuse(*_arguments, **_more):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    private_folder(tmp_path / "theirs")


# The lock of asr-edge before it used filelock; such a process may still run beside a new one.
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
from editing.files import locked
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
