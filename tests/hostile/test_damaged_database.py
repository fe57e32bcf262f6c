"""A database with garbled bytes: every command says so in one line, and `asr-edge doctor` loses no recording."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from device_app.data.repair.database import examine_database, rebuild
from device_app.data.repair.utterances import examine, repair
from device_app.data.store import Store
from device_app.paths import RECORDINGS
from editing.errors import StorageError
from tests.command_line import call
from tests.device_app.data.repair.test_utterances import new

COUNT = 30  # utterances, whose texts make several pages of the table


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    with Store(folder) as store:
        store.add([new(seed, text=f"the text of utterance {seed} " + "word " * 100) for seed in range(COUNT)])
    return folder


@pytest.fixture
def home(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "home")
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def garble(path, offset, count, seed=0):
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = random.Random(seed).randbytes(count)
    path.write_bytes(data)


def garble_page(folder, kind="the table"):
    """Overwrites the header and the first cells of a leaf page of a table, or of an index."""
    name = {"the table": "utterance", "an index": "utterance_by_domain", "the domains": "domain"}[kind]
    with closing(sqlite3.connect(folder / "store.sqlite3")) as sql:
        query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno"
        try:
            pages = [page for (page,) in sql.execute(query, (name,))]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
        (size,) = sql.execute("PRAGMA page_size").fetchone()
    garble(folder / "store.sqlite3", (pages[len(pages) // 2] - 1) * size, 200)


def truncate(folder):
    path = folder / "store.sqlite3"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_bytes(folder, old, new):
    path = folder / "store.sqlite3"
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def replace_with(data):
    return lambda folder: (folder / "store.sqlite3").write_bytes(data)


def journal_only(folder):
    """A killed process leaves a journal; then the database beside it is emptied."""
    script = "import os, sys; from pathlib import Path; from device_app.data.store import Store; " + (
        "store = Store(Path(sys.argv[1])); store.set_text(1, 'in the journal'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
    assert (folder / "store.sqlite3-wal").stat().st_size > 0


def emptied_beside_its_journal(folder):
    journal_only(folder)
    (folder / "store.sqlite3").write_bytes(b"")


def with_a_damaged_journal(folder):
    journal_only(folder)
    garble(folder / "store.sqlite3-wal", 0, 32)


DAMAGES = {
    "a page of the table": garble_page,
    "a page of an index": lambda folder: garble_page(folder, "an index"),
    "the page of the domains": lambda folder: garble_page(folder, "the domains"),
    "the schema": lambda folder: garble(folder / "store.sqlite3", 100, 400),
    "a name that is not UTF-8": lambda folder: replace_bytes(folder, b"CREATE TABLE", b"CREATE T\xffBLE"),
    "the header": lambda folder: garble(folder / "store.sqlite3", 0, 100),
    "the version": lambda folder: garble(folder / "store.sqlite3", 60, 3),
    "cut off": truncate,
    "no database": replace_with(b"not a database at all" * 300),
    "zeros": replace_with(bytes(40_000)),
    "emptied beside its journal": emptied_beside_its_journal,
    "a damaged journal": with_a_damaged_journal,
}


@pytest.fixture(params=DAMAGES)
def damaged(home, request):
    DAMAGES[request.param](home)
    return home


def asr(*arguments):
    """Runs a command; an exception that is not an error of a user is raised."""
    return call(*arguments, code=None)


def everything(folder):
    """All files but SQLite's shared memory."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.endswith("-shm")}


def sounds(folder):
    return {path.read_bytes() for path in (folder / "audio").rglob("*.flac")}


def test_doctor_sees_it_and_changes_nothing_unless_asked(damaged):
    before = everything(damaged)
    done = asr("doctor", "--dry-run")
    assert done.code == 1
    assert "Damaged databases (1): put a backup in their place if you have one" in done.stdout
    assert str(damaged / "store.sqlite3") in done.stdout
    assert not (damaged / "quarantine").exists()
    assert everything(damaged) == before


def test_doctor_rebuilds_it_and_loses_no_recording(damaged):
    before = sounds(damaged)
    database = (damaged / "store.sqlite3").read_bytes()
    done = asr("doctor", "--yes", "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["findings"][0]["kind"] == "damaged databases"
    assert sounds(damaged) == before
    (copy,) = (damaged / "quarantine").glob("store.*.sqlite3")
    assert copy.read_bytes() == database
    assert copy.stat().st_mode & 0o777 == 0o600
    with Store(damaged) as store:
        assert len(list(store.utterances())) == COUNT  # each of them is another recording
        assert {u.audio.read_bytes() for u in store.utterances()} == before
    assert (
        asr("doctor").stdout
        == "All recordings and texts are in order.\nThe edits and the model files made from them are in order.\n"
    )


@pytest.mark.parametrize(("kind", "fewest"), [("the table", COUNT // 2), ("an index", COUNT)])
def test_texts_that_can_be_read_come_back(home, kind, fewest):
    with Store(home) as store:
        right = {u.sha256: u.text for u in store.utterances()}
    garble_page(home, kind)
    assert asr("doctor", "--yes").code == 0
    with Store(home) as store:
        texts = {u.sha256: u.text for u in store.utterances("d")}
    assert fewest <= len(texts) <= COUNT
    assert texts.items() <= right.items()


def test_a_copy_from_before_an_update_is_named(home):
    (home / "store.sqlite3.before-4").write_bytes((home / "store.sqlite3").read_bytes())
    (home / "store.sqlite3").write_bytes(b"rubbish" * 1000)
    with pytest.raises(StorageError, match=r"store\.sqlite3\.before-4 is a copy from before an update"):
        Store(home)
    assert "store.sqlite3.before-4 is a copy" in asr("doctor", "--dry-run").stdout
    asr("doctor", "--yes")
    assert (home / "store.sqlite3.before-4").is_file()


def test_a_row_that_names_a_missing_domain_is_found(home):
    with closing(sqlite3.connect(home / "store.sqlite3", isolation_level=None)) as sql:
        sql.execute("UPDATE utterance SET domain_id = 99 WHERE id = 7")
    (finding,) = examine_database(home)
    assert "utterances refer to a domain that is missing" in finding.line
    with pytest.raises(StorageError, match="utterances refer to a domain that is missing"):
        Store(home)
    rebuild(home)
    with Store(home) as store:
        repair(store, examine(store))
        assert len(list(store.utterances("d"))) == COUNT - 1
        (lost,) = store.utterances("recovered 99")
        assert lost.text is not None
        assert lost.text.startswith("the text of utterance 6")


def test_domains_whose_names_are_lost_stay_apart(home):
    """Each has its own text of the same recording."""
    with Store(home) as store:
        store.add([new(0, domain="e", text="the text in the domain e")])
    garble_page(home, "the domains")
    assert asr("dataset", "list").code == 1
    assert asr("doctor", "--yes").code == 0
    with Store(home) as store:
        assert {stats.domain: stats.utterances for stats in store.stats()} == {"recovered 1": COUNT, "recovered 2": 1}
        assert [u.text for u in store.utterances("recovered 2")] == ["the text in the domain e"]


def test_a_backup_that_was_put_there_before_the_answer_stays(home):
    backup = (home / "store.sqlite3").read_bytes()
    (home / "store.sqlite3").write_bytes(b"rubbish" * 1000)
    (finding,) = examine_database(home)
    (home / "store.sqlite3").write_bytes(backup)
    assert finding.repair is not None
    finding.repair()
    with Store(home) as store:
        assert len(list(store.utterances("d"))) == COUNT
    assert not (home / "quarantine").exists()


def test_what_is_deleted_is_deleted_from_the_damaged_database_too(home):
    garble_page(home)
    assert asr("doctor", "--yes").code == 0
    with Store(home) as store:
        store.delete([next(iter(store.utterances())).number])
    assert not list((home / "quarantine").glob("*sqlite3*"))


def test_a_killed_process_leaves_a_journal_that_is_no_damage(home):
    journal_only(home)
    assert examine_database(home) == []
    with Store(home) as store:
        assert store.get(1).text == "in the journal"


COMMANDS = [
    ("dataset", "list"),
    ("dataset", "show", "d", "--json"),
    ("dataset", "stats", "d"),
    ("dataset", "rename", "d", "e"),
    ("dataset", "move", 5, "--to", "e"),
    ("dataset", "delete", 5, "--yes"),
    ("dataset", "forget", "--speaker", "anna", "--yes"),
    ("dataset", "export", "--domain", "d", "--out", "exported"),
    ("label", "set", 5, "a text"),
    ("correct", "--last", "a text"),
    ("import", RECORDINGS / "manifest.jsonl", "--domain", "d"),
    ("doctor", "--dry-run"),
]


def test_every_command_that_opens_it_fails_in_one_line_or_works(damaged, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for command in COMMANDS:
        errors = [line for line in asr(*command).stderr.splitlines() if line.startswith("asr-edge: ")]
        assert len(errors) <= 1
        if errors and "store.sqlite3" in errors[0]:
            assert "asr-edge doctor" in errors[0]


@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 300))])
def test_any_garbled_bytes(home, tmp_path, monkeypatch, seed):
    """Random damage, random commands, then the doctor: no traceback, and all recordings have utterances again."""
    chance = random.Random(seed)
    path = home / "store.sqlite3"
    before = sounds(home)
    garble(path, chance.randrange(path.stat().st_size), chance.choice((4, 200, 5000)), seed)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for command in chance.sample(
        [c for c in COMMANDS if c[0] != "import" and c[1] not in ("delete", "forget", "export")], 4
    ):
        asr(*command)
    for _ in range(2):
        assert "asr-edge: " not in asr("doctor", "--yes", "--missing-is-gone").stderr
    kept = {p.read_bytes() for p in home.rglob("*.flac")}
    assert kept == before
    with Store(home) as store:
        assert {u.audio.read_bytes() for u in store.utterances()} == before
