import csv
import json

import pytest

from device_app.manifest import read_manifest
from device_app.models import RECORDINGS

MANIFEST = RECORDINGS / "manifest.jsonl"


@pytest.fixture
def call(run, tmp_path):
    """The command line with a store of the test's own."""
    return lambda *arguments, **more: run(*arguments, ASR_EDGE_HOME=str(tmp_path / "home"), **more)


@pytest.fixture
def prompts(call):
    """A domain of four prompts; the fifth recording of the manifest is too long."""
    done = call("import", MANIFEST, "--domain", "prompts", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["imported"] == 4
    assert report["too_long"] == [f"{RECORDINGS / 'two_cities.flac'}: 44.4 s; 30 s is the most"]
    return call


def test_import_tells_what_it_found_and_did(call):
    done = call("import", MANIFEST, "--domain", "prompts")
    assert done.stdout == "4 imported (0.3 min), 0 of them without a text\n"
    assert "a manifest with 5 recordings" in done.stderr
    assert "1 too long:" in done.stderr


def test_import_needs_a_domain(call):
    done = call("import", MANIFEST)
    assert done.returncode == 1
    assert "--domain" in done.stderr


def test_capitals_are_lowered_with_a_notice(call, tmp_path):
    audio = (RECORDINGS / "invalid.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(audio)
    (tmp_path / "a.txt").write_text("I AM SORRY")
    done = call("import", tmp_path, "--domain", "d")
    assert "lower case" in done.stderr
    assert json.loads(call("dataset", "show", "d", "--json").stdout)[0]["text"] == "i am sorry"


def test_lists_and_statistics(prompts):
    (listed,) = json.loads(prompts("dataset", "list", "--json").stdout)
    assert (listed["domain"], listed["utterances"], listed["speakers"]) == ("prompts", 4, 1)
    assert "prompts" in prompts("dataset", "stats", "prompts").stdout
    shown = prompts("dataset", "show", "prompts", "--limit", 2)
    assert len(shown.stdout.splitlines()) == 3
    assert "--after 2" in shown.stderr


def test_an_empty_store_says_how_to_begin(call):
    done = call("dataset", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "asr-edge import" in done.stderr


def test_rename_move_and_delete(prompts):
    assert prompts("dataset", "rename", "prompts", "phone").returncode == 0
    assert prompts("dataset", "move", 1, 2, "--to", "other").returncode == 0
    assert prompts("dataset", "delete", 1, stdin=b"n\n").returncode == 1
    assert prompts("dataset", "delete", 1, "--yes").stdout == "1 deleted\n"
    counts = {s["domain"]: s["utterances"] for s in json.loads(prompts("dataset", "list", "--json").stdout)}
    assert counts == {"other": 1, "phone": 2}
    assert prompts("dataset", "delete", "--domain", "phone", "-y").stdout == "2 deleted\n"
    assert prompts("dataset", "delete").returncode == 1


def test_a_speaker_is_forgotten(prompts, tmp_path):
    assert prompts("dataset", "forget", "--speaker", "allison", stdin=b"y\n").stdout.strip() == "4 deleted"
    assert [p for p in (tmp_path / "home" / "audio").rglob("*") if p.is_file()] == []
    assert prompts("dataset", "forget", "--speaker", "allison").returncode == 1


def test_an_exported_manifest_reads_as_one(prompts, tmp_path):
    done = prompts("dataset", "export", "--domain", "prompts", "--out", "out")
    assert done.stdout == "4 utterances in out\n"
    entries = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert {entry.text for entry in entries} < {entry.text for entry in read_manifest(MANIFEST)}
    line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert line["audio_filepath"] == line["audio"]
    assert line["duration"] > 1
    again = prompts("import", "out/manifest.jsonl", "--domain", "copy")
    assert again.returncode == 0


def test_an_exported_audiofolder_reads_as_one(prompts, tmp_path):
    prompts("dataset", "export", "--domain", "prompts", "--out", "out", "--format", "audiofolder")
    with (tmp_path / "out" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all((tmp_path / "out" / row["file_name"]).is_file() for row in rows)
    assert "4 recordings" in prompts("import", "out", "--domain", "copy").stderr


def test_doctor(prompts, tmp_path):
    assert prompts("doctor").stdout == "The store is whole.\n"
    next((tmp_path / "home" / "audio").rglob("*.flac")).unlink()
    assert prompts("doctor", "--dry-run").returncode == 1
    assert "1 utterances whose audio is gone: removed" in prompts("doctor").stdout
    assert json.loads(prompts("doctor", "--json").stdout)["missing"] == []
