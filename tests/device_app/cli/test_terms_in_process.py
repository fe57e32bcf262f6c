"""asr-edge terms, and the options that use the list, on a model that knows six letters, in the tests' own process."""

import json
from pathlib import Path

import pytest

from device_app.recognition.keyterms import graph
from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import write_spelled


@pytest.fixture
def recording(home_of_tiny):
    return write_spelled(Path("fio.wav"), "fio")


@pytest.fixture
def strong(monkeypatch):
    """Single letters have one character, and the model is sure of each: only a large bonus changes one."""
    monkeypatch.setattr(graph.Strength.__init__, "__defaults__", (40.0, 400.0))


def transcribe(*arguments, **more):
    return call("transcribe", *arguments, "--model", "tiny", **more)


def test_terms_are_added_listed_and_removed(empty_home):
    assert call("terms", "list").stderr == "The list has no terms; 'asr-edge terms add' adds some.\n"
    assert call("terms", "add", "Lawnswood", "Hertford College").stdout == "2 added; the list has 2 terms\n"
    assert call("terms", "add", "lawnswood", "--weight", "2").stdout == "0 added; the list has 2 terms\n"
    found = json.loads(call("terms", "list", "--json").stdout)
    assert [(one["text"], one["weight"], one["origin"]) for one in found] == [
        ("lawnswood", 2.0, "added"),
        ("Hertford College", 1.0, "added"),
    ]
    assert call("terms", "remove", "LAWNSWOOD").stdout == "1 removed; the list has 1 term\n"
    table = call("terms", "list").stdout.splitlines()
    assert table[0].split() == ["term", "weight", "origin", "since"]
    assert table[1].startswith("Hertford College       1  added   20")


def test_a_list_is_exported_and_imported(empty_home):
    call("terms", "add", "Huesca", "--weight", "1.5")
    call("terms", "add", "Leeds")
    assert call("terms", "export").stdout == "Huesca\t1.5\nLeeds\n"
    call("terms", "export", "-o", "list.txt")
    call("terms", "remove", "Huesca", "Leeds")
    assert call("terms", "import", "list.txt").stdout == "2 added; the list has 2 terms\n"
    assert json.loads(call("terms", "list", "--json").stdout)[0]["origin"] == "imported"
    refused = call("terms", "export", "-o", "list.txt", code=1)
    assert "already exists" in refused.stderr
    call("terms", "export", "-o", "list.txt", "--overwrite")


def test_a_missing_file_and_a_missing_term_are_errors(empty_home):
    assert "missing.txt: cannot be read as a list of terms" in call("terms", "import", "missing.txt", code=1).stderr
    assert "'Leeds' is not in the list" in call("terms", "remove", "Leeds", code=1).stderr
    assert "no letter and no digit" in call("terms", "add", "Leeds", "--", "-", code=1).stderr
    assert not (empty_home / "terms.json").exists()


def test_the_list_is_used_until_it_is_left_out(recording, strong):
    call("terms", "add", "a")
    assert transcribe(recording).stdout != "f i o\n"
    assert transcribe(recording, "--no-terms").stdout == "f i o\n"


def test_a_file_of_terms_is_used_with_and_without_the_list(recording, strong):
    Path("terms.txt").write_text("a\n")
    biased = transcribe(recording, "--terms", "terms.txt").stdout
    assert biased != "f i o\n"
    assert transcribe(recording, "--terms", "terms.txt", "--no-terms").stdout == biased
    assert transcribe(recording).stdout == "f i o\n"


def test_terms_that_are_not_said_change_nothing(recording):
    call("terms", "add", "Lawnswood", "Huesca")
    assert transcribe(recording).stdout == "f i o\n"


def test_an_output_must_not_replace_the_file_of_terms(recording):
    Path("terms.txt").write_text("a\n")
    done = transcribe(recording, "--terms", "terms.txt", "-o", "terms.txt", "--overwrite", code=1)
    assert "is an input" in done.stderr
    assert Path("terms.txt").read_text() == "a\n"


def test_evaluate_reports_that_it_uses_terms(recording):
    Path("m.jsonl").write_text(json.dumps({"audio": "fio.wav", "text": "f i o"}) + "\n")
    call("terms", "add", "Lawnswood")
    done = call("evaluate", "m.jsonl", "--model", "tiny", "--json")
    assert done.stderr.startswith("Keyterms: 1; --no-terms")
    assert json.loads(done.stdout)["english"]["wer"] == 0
    assert call("evaluate", "m.jsonl", "--model", "tiny", "--json", "--no-terms").stderr == ""


def test_a_corrected_word_becomes_a_term_unless_it_is_refused(recording):
    transcribe(recording, "--save")
    number = json.loads(call("dataset", "show", "my-speech", "--json").stdout)[0]["id"]
    assert call("correct", number, "Huesca i o", "--no-term").stderr == ""
    call("terms", "corrections", "off")
    assert call("correct", number, "Huesca i o").stderr == ""
    assert call("terms", "corrections", "on").stdout == "Corrected words are added to the list\n"
    done = call("correct", "--last", "Huesca i o")
    assert done.stderr.startswith("Expected from now on: Huesca ('asr-edge terms remove'")
    (term,) = json.loads(call("terms", "list", "--json").stdout)
    assert (term["text"], term["origin"]) == ("Huesca", "corrected")
    assert call("label", "set", number, "Huesca i Leeds").stderr.startswith("Expected from now on: Leeds (")
