import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from editing.errors import BadInputError, StorageError
from editing.files import check_writable, folder_in_one_step, refuse_overwriting, sha256, write_atomically


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


def test_a_folder_and_its_content_are_synced_before_it_appears(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("editing.files.sync", lambda path: synced.append((path, (tmp_path / "made").exists())))
    with folder_in_one_step(tmp_path / "made") as folder:
        (folder / "file").write_text("data")
    assert synced == [(folder / "file", False), (folder, False), (tmp_path, True)]


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
