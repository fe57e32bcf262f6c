import os
from pathlib import Path

import pytest

from editing.files import folder_in_one_step, write_atomically
from editing.privacy import make_folder, private_folder


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
