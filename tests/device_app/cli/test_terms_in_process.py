"""asr-edge terms, and the options that use the list, on a model that knows six letters, in the tests' own process."""

import json
import os
from pathlib import Path

import pytest

from device_app.data.terms import FILE, Term, change_terms, stored_terms
from device_app.paths import data_folder
from device_app.recognition.keyterms import terms
from tests.device_app.cli.conftest import call
from tests.device_app.cli.letters import write_spelled


@pytest.fixture
def recording(home_of_tiny):
    return write_spelled(Path("fio.wav"), "fio")


@pytest.fixture
def strong(monkeypatch):
    """Single letters have one character, and the model is sure of each: only a large bonus changes one."""
    monkeypatch.setattr(terms.Strength.__init__, "__defaults__", (40.0, 400.0))


def transcribe(*arguments, **more):
    return call("transcribe", *arguments, "--model", "tiny", **more)


def test_terms_are_added_listed_and_removed(empty_home):
    assert call("terms", "list").stderr == "The list has no terms; 'asr-edge terms add' adds some.\n"
    assert call("terms", "add", "Lawnswood", "Hertford College").stdout == "2 added; the list has 2 terms\n"
    assert call("terms", "add", "lawnswood", "--weight", "2").stdout == "0 added, 1 changed; the list has 2 terms\n"
    found = json.loads(call("terms", "list", "--json").stdout)
    assert [(one["text"], one["weight"], one["origin"]) for one in found] == [
        ("lawnswood", 2.0, "added"),
        ("Hertford College", 1.0, "added"),
    ]
    assert call("terms", "remove", "LAWNSWOOD", "Lawnswood").stdout == "1 removed; the list has 1 term\n"
    listed = call("terms", "list")
    table = listed.stdout.splitlines()
    assert listed.stderr == "?: too few matches to say whether the model needs the term\n"
    assert table[0].split() == [*("term", "weight", "origin", "since", "matched", "helped", "needed")]
    assert table[1].startswith("Hertford College       1  added   20")
    assert table[1].split()[-3:] == ["0", "0", "?"]


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
    assert "missing.txt: cannot be read as text" in call("terms", "import", "missing.txt", code=1).stderr
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
    assert "Expected" not in call("correct", number, "Huesca i o", "--no-term").stderr
    call("terms", "corrections", "off")
    assert "Expected" not in call("correct", number, "Huesca i o").stderr
    assert call("terms", "corrections", "on").stdout == "From now on, words that you correct are added to the list\n"
    done = call("correct", "--last", "Huesca i o")
    assert done.stderr.startswith("Expected from now on: Huesca ('asr-edge terms remove'")
    (term,) = json.loads(call("terms", "list", "--json").stdout)
    assert (term["text"], term["origin"]) == ("Huesca", "corrected")
    assert call("label", "set", number, "Huesca i Oxford", "--no-term").stderr == ""
    assert call("label", "set", number, "Huesca i Leeds").stderr.startswith("Expected from now on: Leeds (")


@pytest.mark.parametrize("text", ["f //// i o", f"f {'https://example.org/' + 90 * 'a'} i o"])
def test_a_corrected_text_is_stored_also_if_no_word_of_it_can_be_a_term(recording, text):
    transcribe(recording, "--save")
    done = call("correct", "--last", text)
    assert text in done.stdout
    assert "Expected" not in done.stderr


@pytest.mark.parametrize("command", [["correct"], ["label", "set"]])
def test_a_corrected_text_is_stored_also_if_the_list_is_damaged(recording, command):
    transcribe(recording, "--save")
    number = json.loads(call("dataset", "show", "my-speech", "--json").stdout)[0]["id"]
    (data_folder() / FILE).write_text("{")
    done = call(*command, number, "Huesca i o")
    assert "Huesca i o" in done.stdout
    assert "The text is stored, but no word was added to the list of terms" in done.stderr


def usage():
    return {
        one["text"]: (one["matched"], one["helped"], one["needed"])
        for one in json.loads(call("terms", "list", "--json").stdout)
    }


def test_matches_are_counted_with_and_without_help(recording, strong):
    call("terms", "add", "a")
    Path("more.txt").write_text("m\n")
    text = transcribe(recording, "--terms", "more.txt").stdout.split()
    assert usage() == {"a": (text.count("a"), text.count("a"), True)}
    assert text.count("a") > 0


def test_a_term_that_needs_no_help_is_counted_as_such(recording):
    call("terms", "add", "f", "Huesca")
    for _ in range(3):
        assert transcribe(recording).stdout == "f i o\n"
    transcribe(recording, "--no-terms")
    assert usage() == {"f": (3, 0, False), "Huesca": (0, 0, None)}


def test_counts_that_are_damaged_stop_no_transcription(recording):
    call("terms", "add", "f")
    (damaged := Path(os.environ["ASR_EDGE_HOME"]) / "term-usage.json").write_text("{")
    done = transcribe(recording)
    assert done.stdout == "f i o\n"
    assert done.stderr.startswith("Matches of terms are not counted: ")
    assert "Move the file away" in call("terms", "list", code=1).stderr
    assert damaged.read_text() == "{"


def test_replacements_are_kept_in_their_order(empty_home):
    assert call("terms", "replace", "list").stderr.startswith("The list has no replacements")
    assert call("terms", "replace", "add", "zero six one", "061").stdout == "The list has 1 replacement\n"
    call("terms", "replace", "add", "um", "")
    assert (
        call("terms", "replace", "add", "github", "GitHub", "--position", 1).stdout == "The list has 3 replacements\n"
    )
    assert json.loads(call("terms", "replace", "list", "--json").stdout) == [
        {"words": "github", "text": "GitHub"},
        {"words": "zero six one", "text": "061"},
        {"words": "um", "text": ""},
    ]
    assert call("terms", "replace", "list").stdout.splitlines()[-1].split() == ["3", "um", "(dropped)"]
    assert call("terms", "export").stdout == "github\t-> GitHub\nzero six one\t-> 061\num\t->\n"
    call("terms", "export", "-o", "list.txt")
    assert call("terms", "replace", "remove", "UM", "Github").stdout == "The list has 1 replacement\n"
    assert call("terms", "import", "list.txt").stdout == "2 added; the list has 0 terms and 3 replacements\n"
    assert "'x' is not in the list of replacements" in call("terms", "replace", "remove", "x", code=1).stderr


def test_replacements_change_every_format_and_the_raw_text_stays(recording):
    call("terms", "replace", "add", "f i", "FI")
    call("terms", "replace", "add", "o", "zero")
    assert transcribe(recording).stdout == "FI zero\n"
    found = json.loads(transcribe(recording, "-f", "json").stdout)
    plain = json.loads(transcribe(recording, "-f", "json", "--no-terms").stdout)
    assert (found["text"], found["raw_text"]) == ("FI zero", "f i o")
    (segment,), (before,) = found["utterances"], plain["utterances"]
    assert (segment["text"], segment["raw_text"]) == ("FI zero", "f i o")
    assert "raw_text" not in before
    first, second = segment["words"]
    assert (first["start_s"], first["end_s"]) == (before["words"][0]["start_s"], before["words"][1]["end_s"])
    assert (second["start_s"], second["end_s"]) == (before["words"][2]["start_s"], before["words"][2]["end_s"])
    assert transcribe(recording, "-f", "srt").stdout.splitlines()[2] == "FI zero"


def test_replacements_never_reach_labels_and_error_rates(recording):
    call("terms", "replace", "add", "f", "")
    assert transcribe(recording, "--save").stdout == "i o\n"
    assert json.loads(call("dataset", "show", "my-speech", "--json").stdout)[0]["hypothesis"] == "f i o"
    Path("m.jsonl").write_text(json.dumps({"audio": "fio.wav", "text": "f i o"}) + "\n")
    assert json.loads(call("evaluate", "m.jsonl", "--model", "tiny", "--json").stdout)["english"]["wer"] == 0


def test_a_file_may_have_replacements_for_one_run(recording):
    Path("terms.txt").write_text("f i\t-> FI\n")
    assert transcribe(recording, "--terms", "terms.txt").stdout == "FI o\n"
    assert transcribe(recording).stdout == "f i o\n"


def test_a_corrected_word_leaves_the_list_once_an_adaptation_has_it_in_the_weights(home_of_tiny, teacher):
    """The domain's labels have b and c; the adapted model writes them, and never x."""
    change_terms(lambda listed: listed.with_terms([Term("b"), Term("x")], origin="corrected").with_terms([Term("c")]))
    adapt = ("adapt", "--domain", "codes", "--model", "tiny", "--density", "1", "--lambda")
    assert call(*adapt, "0", code=3).stderr.count("removed from your terms") == 0
    done = call(*adapt, "1")
    assert "The model now recognises these words without help; they were removed from your terms: b (" in done.stderr
    assert [term.text for term in stored_terms().terms] == ["x", "c"]

    # The weights lose the word again, so the list has it again; the next revert finds nothing to put back.
    assert "Back on the list of terms: b" in call("revert", "2", "--model", "tiny").stderr
    assert [(term.text, term.origin) for term in stored_terms().terms][-1] == ("b", "corrected")
    change_terms(lambda listed: listed.without(["b"]))
    call("reweight", "2", "--model", "tiny")
    assert "Back on the list" not in call("rollback", "--model", "tiny").stderr
    assert [term.text for term in stored_terms().terms] == ["x", "c"]
