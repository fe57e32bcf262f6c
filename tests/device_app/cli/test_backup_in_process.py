"""backup, restore and forget at the command line: what they print, ask and refuse."""

import json

import pytest

from device_app.remote.jobs import jobs
from tests.data_folder import everything, filled, filled_home  # noqa: F401
from tests.device_app.cli.conftest import call


def test_backup_and_restore(filled_home, tmp_path):  # noqa: F811
    path = tmp_path / "b.tar"
    assert call("backup", path).stdout.endswith("6 recordings, 2 edits\n")
    assert "already exists" in call("backup", path, code=1).stderr
    call("backup", path, "--overwrite")
    assert "data folder" in call("backup", filled_home / "b.tar", code=1).stderr
    before = everything(filled_home)
    refused = call("restore", path, stdin=b"n\n", code=1)
    assert "(6 recordings, 2 edits) by the backup" in refused.stderr
    assert everything(filled_home) == before
    done = call("restore", path, stdin=b"y\n")
    assert "before-restore-" in done.stderr
    assert everything(filled_home) == before


def test_json(filled_home, tmp_path):  # noqa: F811
    path = tmp_path / "b.tar"
    record = json.loads(call("backup", path, "--json").stdout)
    assert (record["recordings"], record["edits"], record["left_out"]) == (6, 2, [])
    record = json.loads(call("restore", path, "--yes", "--json").stdout)
    assert (record["recordings"], record["edits"], record["folder"]) == (6, 2, str(filled_home))


@pytest.mark.parametrize("name", ["missing.tar", "folder", "text.tar"])
def test_what_is_no_backup(name, filled_home, tmp_path):  # noqa: F811
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.tar").write_text("no backup")
    line = call("restore", tmp_path / name, "--yes", code=1).stderr
    assert line.count("\n") == 1
    assert name in line


def test_forget_shows_what_goes_and_asks(filled_home):  # noqa: F811
    (job,) = jobs()
    job.delete()
    shown = call("forget", "--domain", "kitchen", stdin=b"n\n", code=1).stderr
    for part in ("3 recordings", "edit 1: adapt kitchen", "Edit 2 (garden) stays", "Not touched: backups"):
        assert part in shown
    assert "kitchen" in call("log").stdout
    call("forget", "--domain", "kitchen", "--dry-run")
    record = json.loads(call("forget", "--domain", "kitchen", "--yes", "--json").stdout)
    assert (record["done"], record["recordings"], [one["domains"] for one in record["edits"]]) == (
        True,
        3,
        [["kitchen"]],
    )
    assert "kitchen" not in call("log").stdout + call("dataset", "list").stdout
