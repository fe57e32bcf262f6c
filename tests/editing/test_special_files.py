"""Outputs that are links, FIFOs, devices, descriptors, or existing files."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from editing.errors import StorageError
from editing.files import check_writable, folder_in_one_step, is_stream, write_atomically


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "far").mkdir()
    real = tmp_path / "far" / "real.txt"
    real.write_bytes(b"old")
    (tmp_path / "near.txt").symlink_to("far/via.txt")
    (tmp_path / "far" / "via.txt").symlink_to("real.txt")
    write_atomically(tmp_path / "near.txt", b"new")
    assert (tmp_path / "near.txt").is_symlink()
    assert (tmp_path / "far" / "via.txt").is_symlink()
    assert (real.read_bytes(), real.is_symlink()) == (b"new", False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["far", "near.txt", "real.txt", "via.txt"]


def test_the_missing_target_of_a_link_is_created_and_a_link_to_itself_is_an_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "later").read_bytes() == b"new"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for write in (check_writable, lambda path: write_atomically(path, b"")):
        with pytest.raises(StorageError, match="symbolic links"):
            write(tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_to_and_stays_a_fifo(tmp_path, linked):
    os.mkfifo(tmp_path / "fifo")
    path = tmp_path / "fifo"
    if linked:
        path = tmp_path / "link"
        path.symlink_to("fifo")
    check_writable(path)  # opens nothing, as that would wait for a reader
    assert is_stream(path)
    with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
        write_atomically(path, b"text" * 1000)
        assert reader.communicate()[0] == b"text" * 1000
    assert (tmp_path / "fifo").is_fifo()


def test_a_device_is_written_to(tmp_path):
    path = tmp_path / "link"  # a defect would replace /dev/null itself if the tests run as root
    path.symlink_to("/dev/null")
    write_atomically(path, b"text")
    assert path.is_symlink()
    assert Path("/dev/null").is_char_device()
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"full: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "full", b"text")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_descriptor_is_written_at_its_position_and_its_file_is_not_replaced(tmp_path, name):
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    inode = path.stat().st_ino
    code = (
        "import os, sys; from pathlib import Path; from editing.files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), b'text\\n'); os.write(1, b'after\\n')"
    )
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", code, name], stdout=log, check=True)
    assert path.read_bytes() == b"before\ntext\nafter\n"
    assert path.stat().st_ino == inode


def test_a_descriptor_that_is_not_open_is_an_error():
    with pytest.raises(StorageError, match="/dev/fd/987: cannot be written"):
        check_writable(Path("/dev/fd/987"))
    with pytest.raises(StorageError, match="/dev/fd/987: cannot be written"):
        write_atomically(Path("/dev/fd/987"), b"")


def test_a_socket_is_neither_replaced_nor_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(StorageError, match="socket"):
            check_writable(Path("socket"))
        with pytest.raises(StorageError, match="socket"):
            write_atomically(Path("socket"), b"")
        assert Path("socket").is_socket()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == mode


def test_a_folder_in_one_step_where_a_link_leads_to_an_empty_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with folder_in_one_step(tmp_path / "link") as folder:
        (folder / "file").write_text("data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "data"


def test_an_empty_working_folder_can_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with folder_in_one_step(Path()) as folder:
        (folder / "file").write_text("data")
    assert (tmp_path / "here" / "file").read_text() == "data"


def test_a_missing_folder_is_an_error_unless_it_may_be_made(tmp_path):
    path = tmp_path / "new" / "file"
    with pytest.raises(StorageError, match=r"no such folder: .*new\); nothing was changed"):
        check_writable(path, makes_folder=False)
    assert not path.parent.exists()
    check_writable(path)
    assert path.parent.is_dir()
