import os
from pathlib import Path

import pytest

from device_app.outputs import check_output, check_outside_data
from editing.errors import BadInputError


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "audio").mkdir(parents=True)
    (tmp_path / "home" / "store.sqlite3").write_bytes(b"everything")
    return tmp_path / "home"


@pytest.mark.parametrize("name", ["store.sqlite3", "audio/new.txt", "new.txt", "../home/new.txt", "new/deep.txt", "."])
@pytest.mark.parametrize("spelled", ["plain", "linked"])
def test_nothing_in_the_data_folder_is_an_output(data, tmp_path, name, spelled):
    folder = data
    if spelled == "linked":
        folder = tmp_path / "link"
        folder.symlink_to(data)
    for overwrite in (False, True):
        with pytest.raises(BadInputError, match="own data folder"):
            check_output(folder / name, overwrite=overwrite)
    with pytest.raises(BadInputError, match="own data folder"):
        check_outside_data(folder / name)
    assert (data / "store.sqlite3").read_bytes() == b"everything"


def test_a_link_into_the_data_folder_is_refused(data, tmp_path):
    (tmp_path / "notes.txt").symlink_to(data / "store.sqlite3")
    with pytest.raises(BadInputError, match="own data folder"):
        check_output(tmp_path / "notes.txt", overwrite=True)


def test_a_nonempty_file_is_replaced_only_with_overwrite(data, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt: already exists; nothing was changed.*--overwrite"):
        check_output(tmp_path / "notes.txt")
    check_output(tmp_path / "notes.txt", overwrite=True)
    (tmp_path / "empty.txt").touch()
    check_output(tmp_path / "empty.txt")
    check_output(tmp_path / "new.txt")
    check_output(tmp_path / "home-not" / "new.txt")


def test_streams_are_always_accepted(data, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for stream in (tmp_path / "fifo", Path("/dev/null"), Path("/dev/stdout")):
        check_output(stream)
