import csv
import json

import pytest

from device_app.data.manifest import read_manifest
from device_app.paths import RECORDINGS

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
    assert report["too_long"] == [
        f"{RECORDINGS / 'manifest.jsonl'}, line 1: {RECORDINGS / 'two_cities.flac'}: 44.4 s long; 30 s is the maximum"
    ]
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
    for number in range(10):  # one recording, so that nine are duplicates
        (tmp_path / f"{number}.flac").write_bytes(audio)
        (tmp_path / f"{number}.txt").write_text("I AM SORRY")
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


def test_lines_without_a_text_do_not_count_as_held_out(call, tmp_path):
    lines = [json.loads(line) for line in MANIFEST.read_text("utf-8").splitlines()]
    lines = [line for line in lines if "two_cities" not in line["audio"]][:3]
    lines = [{"audio": str(RECORDINGS / line["audio"]), "split": "test", "text": line["text"]} for line in lines]
    del lines[0]["text"]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    call("import", tmp_path / "own.jsonl", "--domain", "d")
    (listed,) = json.loads(call("dataset", "list", "--json").stdout)
    assert (listed["utterances"], listed["unlabelled"], listed["test"]) == (3, 1, 2)
    unknown = call("correct", "999", "hello").stderr
    assert unknown == (
        "asr-edge: there is no utterance 999; their numbers are from 1 to 3. To list them: asr-edge dataset show d\n"
    )


def test_an_empty_store_says_how_to_begin(call):
    done = call("dataset", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "asr-edge import" in done.stderr


def test_rename_move_and_delete(prompts):
    assert prompts("dataset", "rename", "prompts", "phone").returncode == 0
    assert prompts("dataset", "move", 1, 2, "--to", "other").returncode == 0
    assert prompts("dataset", "delete", 1, stdin=b"n\n").returncode == 1
    assert prompts("dataset", "delete", 1, 1, "--yes").stdout == "1 deleted\n"
    counts = {s["domain"]: s["utterances"] for s in json.loads(prompts("dataset", "list", "--json").stdout)}
    assert counts == {"other": 1, "phone": 2}
    assert prompts("dataset", "delete", "--domain", "phone", "-y").stdout == "2 deleted\n"
    assert prompts("dataset", "delete").returncode == 1


def test_a_speaker_is_forgotten(prompts, tmp_path):
    assert prompts("dataset", "forget", "--speaker", "allison", stdin=b"y\n").stdout.splitlines()[-1] == "4 deleted"
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


def recordings(tmp_path):
    return sorted((tmp_path / "home" / "audio").rglob("*.flac"))


def everything(tmp_path):
    """All files of the data folder but SQLite's own."""
    folder = tmp_path / "home"
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and not p.name.startswith("store.sqlite3")}


def test_doctor_shows_and_changes_nothing_without_an_answer(prompts, tmp_path):
    assert (
        prompts("doctor").stdout
        == "All recordings and texts are in order.\nThe edits and the model files made from them are in order.\n"
    )
    recordings(tmp_path)[0].unlink()
    before = everything(tmp_path)
    for arguments in ((), ("--dry-run",), ("--dry-run", "--yes")):
        done = prompts("doctor", *arguments)
        assert done.returncode == 1
        assert "Utterances whose audio is missing (1): their texts go into the quarantine" in done.stdout
    assert "Nothing was changed" in prompts("doctor", stdin=b"y\n").stderr
    assert everything(tmp_path) == before
    assert len(json.loads(prompts("dataset", "show", "prompts", "--json").stdout)) == 4


def test_doctor_mends_when_it_may(prompts, tmp_path):
    recordings(tmp_path)[0].unlink()
    done = prompts("doctor", "--yes")
    assert done.returncode == 0
    assert str(tmp_path / "home" / "quarantine") in done.stderr
    assert len(json.loads(prompts("dataset", "show", "prompts", "--json").stdout)) == 3
    assert json.loads(prompts("doctor", "--json").stdout) == {"findings": [], "repaired": False}


def test_doctor_asks_at_a_terminal(prompts, terminal, tmp_path):
    recordings(tmp_path)[0].unlink()
    before = everything(tmp_path)
    for answer, code in (("n", 1), ("y", 0)):
        screen = terminal("doctor")
        screen.wait_for("Repair this?")
        assert everything(tmp_path) == before
        screen.press(f"{answer}\r")
        assert screen.finish() == code
    assert everything(tmp_path) != before


def test_doctor_stops_where_a_disk_is_away(prompts, tmp_path):
    (tmp_path / "home" / "audio").rename(tmp_path / "disk")
    for arguments in ((), ("--yes",), ("--yes", "--json"), ("--dry-run",)):
        done = prompts("doctor", *arguments)
        assert done.returncode == 1
        assert "4 of 4 recordings are missing or damaged; nothing was changed. Is the disk mounted?" in done.stderr
        assert done.stderr.count("\n") == 1
    (tmp_path / "disk").rename(tmp_path / "home" / "audio")
    assert (
        prompts("doctor").stdout
        == "All recordings and texts are in order.\nThe edits and the model files made from them are in order.\n"
    )
    (tmp_path / "home" / "audio").rename(tmp_path / "disk")
    assert prompts("doctor", "--yes", "--missing-is-gone").returncode == 0
    assert json.loads(prompts("dataset", "list", "--json").stdout) == []
    (tmp_path / "disk").rename(tmp_path / "home" / "audio")
    done = prompts("doctor", "--yes", "--json")
    assert json.loads(done.stdout)["repaired"]
    assert {one["kind"] for one in json.loads(done.stdout)["findings"]} == {"recordings that were found again"}
    assert len(json.loads(prompts("dataset", "show", "prompts", "--json").stdout)) == 4


def test_doctor_says_that_a_backup_of_the_database_comes_first(prompts, tmp_path):
    for path in (tmp_path / "home").glob("store.sqlite3*"):
        path.unlink()
    done = prompts("doctor", "--dry-run")
    assert "put a backup in their place if you have one" in done.stdout


def test_doctor_speaks_of_a_backup_only_where_the_database_was_lost(call, tmp_path):
    call("dataset", "list")
    (tmp_path / "home" / "audio").mkdir(mode=0o755)
    (tmp_path / "home" / "audio").chmod(0o700)
    (tmp_path / "home" / "audio" / "ab").mkdir()
    (tmp_path / "home" / "audio" / "ab").chmod(0o755)
    done = call("doctor", "--dry-run")
    assert "Files and folders that other users can read (1)" in done.stdout
    assert "a backup" not in done.stdout + done.stderr


def test_import_names_the_lines_whose_text_is_not_the_stored_one(prompts, tmp_path):
    (row, *_) = json.loads(prompts("dataset", "show", "prompts", "--json").stdout)
    manifest = tmp_path / "second.jsonl"
    manifest.write_text(json.dumps({"audio": row["audio"], "text": "Quite another text."}) + "\n")
    done = prompts("import", manifest, "--domain", "prompts")
    assert done.returncode == 0
    assert "1 already stored:" in done.stderr
    assert "1 of these, with a different text:" in done.stderr
    assert f"{manifest}, line 1: 'Quite another text.'" in done.stderr
    assert f"asr-edge label set {row['id']} TEXT" in done.stderr
    assert json.loads(prompts("dataset", "show", "prompts", "--json").stdout)[0]["text"] == row["text"]
    assert "different text" not in prompts("import", MANIFEST, "--domain", "prompts").stderr


def test_a_speaker_is_forgotten_in_the_quarantine_too(prompts, tmp_path):
    recordings(tmp_path)[0].write_bytes(b"rubbish")
    prompts("doctor", "--yes")
    assert prompts("dataset", "forget", "--speaker", "allison", "--yes").stdout == "4 deleted\n"
    assert not list((tmp_path / "home").rglob("*.flac"))
    assert not [p for p in (tmp_path / "home").rglob("*") if p.is_file() and b"allison" in p.read_bytes()]
    assert prompts("dataset", "forget", "--speaker", "allison", "--yes").returncode == 1


def test_a_correction_that_cannot_be_moved_changes_nothing(prompts):
    prompts("import", MANIFEST, "--domain", "copy")
    done = prompts("correct", 1, "another text", "--domain", "copy")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "'copy' has the same recording as utterance 5" in done.stderr
    assert json.loads(prompts("dataset", "show", "prompts", "--json").stdout)[0]["text"] != "another text"
