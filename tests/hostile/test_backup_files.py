"""Backups from a hostile hand, or a failing disk: one line, and nothing in the data folder changes."""

import hashlib
import io
import json
import re
import sqlite3
import tarfile
from contextlib import closing

import pytest

from device_app.backup.create import back_up
from device_app.backup.restore import kept_folders, prepared
from editing.errors import AsrEdgeError
from tests.data_folder import everything


@pytest.fixture
def backup(filled_home, tmp_path):
    back_up(tmp_path / "b.tar")
    return tmp_path / "b.tar"


def content(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write(path, files, types=None, **manifest):
    """Writes a backup of these files with a manifest that fits them."""
    listed = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    record = {"format_version": 1, "asr_edge": "9", "created": "", "left_out": [], "files": listed, **manifest}
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in {**files, "manifest.json": json.dumps(record).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), (types or {}).get(name, tarfile.REGTYPE)
            if member.type == tarfile.SYMTYPE:
                member.size, member.linkname = 0, "/etc/passwd"
            tar.addfile(member, io.BytesIO(data))


def refused(path, home, match):
    before = everything(home)
    with pytest.raises(AsrEdgeError, match=match) as caught, prepared(path):
        pytest.fail("it was accepted")
    assert "\n" not in str(caught.value)
    assert re.search("nothing was (changed|used)", str(caught.value))
    assert kept_folders(home) == []
    assert everything(home) == before


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "audio/../../evil",
        "baked/x",
        "host/key",
        "audio/a\nb",
        "audio/\u202egnp",
        "store.sqlite3-wal",
        "audio//x",
        "audio\\x",
        "audio",
    ],
)
def test_names_of_other_files_are_refused(name, backup, filled_home, tmp_path):
    files = content(backup)
    del files["manifest.json"]
    write(backup, {name: b"x", **files})
    refused(backup, filled_home, "is not a name of a backup|is no tar file|manifest")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_only_regular_files(kind, backup, filled_home):
    write(backup, {"terms.json": b""}, types={"terms.json": kind})
    refused(backup, filled_home, "is not a regular file")


def test_a_name_twice(backup, filled_home):
    with tarfile.open(backup, "w", format=tarfile.USTAR_FORMAT) as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("terms.json"), io.BytesIO())
    refused(backup, filled_home, "is not a name of a backup")


def test_a_size_beyond_the_file_allocates_nothing(backup, filled_home):
    member = tarfile.TarInfo("store.sqlite3")
    member.size = 7 << 30
    backup.write_bytes(member.tobuf(tarfile.USTAR_FORMAT) + b"x" * 512)
    refused(backup, filled_home, "is truncated")


def test_a_truncated_backup(backup, filled_home):
    data = backup.read_bytes()
    for length in (0, 100, 512, 5000, len(data) // 2, len(data) - 20_000):
        backup.write_bytes(data[:length])
        refused(backup, filled_home, "truncated|manifest|no tar file")


@pytest.mark.slow
def test_a_flipped_byte_anywhere(backup, filled_home):
    """Padding and the last zeros do not count; all else is found."""
    data = bytearray(backup.read_bytes())
    with tarfile.open(backup) as tar:
        members = [member for member in tar if member.name != "manifest.json"]
        places = [member.offset_data + member.size // 2 for member in members]
        places += [member.offset + 3 for member in members]
    for place in places[:: max(1, len(places) // 6)]:
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        backup.write_bytes(damaged)
        refused(backup, filled_home, "damaged|not as its manifest says|is not a name")


def test_a_later_format(backup, filled_home):
    write(backup, {}, format_version=2)
    refused(backup, filled_home, r"was made by asr-edge 9 \(format 2; this one reads format 1\).*Update asr-edge")


def test_a_store_of_a_later_asr_edge(backup, filled_home):
    files = content(backup)
    del files["manifest.json"]
    with closing(sqlite3.connect(":memory:")) as sql:
        sql.deserialize(files["store.sqlite3"])
        sql.execute("PRAGMA user_version = 77")
        write(backup, {**files, "store.sqlite3": sql.serialize()})
    refused(backup, filled_home, "format 77; this one reads up to 5.*Update asr-edge")


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        (
            "CREATE TRIGGER t AFTER UPDATE ON utterance BEGIN DELETE FROM utterance; END",
            "parts that a store does not",
        ),
        ("CREATE VIEW v AS SELECT * FROM utterance", "parts that a store does not"),
        ("UPDATE utterance SET file = '../../outside.flac' WHERE id = 1", "names a file outside the store"),
        ("UPDATE utterance SET file = '/etc/passwd' WHERE id = 1", "names a file outside the store"),
        ("UPDATE utterance SET domain_id = 99", "damaged"),
    ],
)
def test_a_database_that_is_no_store(statement, match, backup, filled_home):
    files = content(backup)
    del files["manifest.json"]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as sql:
        sql.deserialize(files["store.sqlite3"])
        sql.execute(statement)
        write(backup, {**files, "store.sqlite3": sql.serialize()})
    refused(backup, filled_home, match)


@pytest.mark.parametrize("suffix", ["ledger.json", ".safetensors", "hosts.json", "terms.json", "job.json"])
def test_parts_that_fit_the_manifest_but_are_damaged(suffix, backup, filled_home):
    files = content(backup)
    del files["manifest.json"]
    (name, *_) = [name for name in files if name.endswith(suffix)]
    write(backup, {**files, name: files[name][:-5]})
    refused(backup, filled_home, "damaged|cannot be used")
