"""asr-edge guard: the user's own recordings of general speech."""

import json
from types import SimpleNamespace

import pytest

from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.paths import RECORDINGS
from tests.device_app.cli.conftest import call

TEXTS = {"invalid": "invalid", "vm-newuser": "", "ss-noservice": "..."}


@pytest.fixture
def manifest(tmp_path):
    lines = [{"audio": str(RECORDINGS / f"{name}.flac"), "text": name} for name in ("invalid", "vm-newuser")]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def listed():
    return json.loads(call("guard", "list", "--json").stdout)


def test_added_recordings_are_listed_as_held_out_and_removed(empty_home, manifest):
    assert listed() == []
    assert "2 imported" in call("guard", "add", manifest).stdout
    assert [(one["text"], one["domain"]) for one in listed()] == [("invalid", GUARD_SET), ("vm-newuser", GUARD_SET)]
    assert "2 of your own, 72 bundled" in call("guard", "list").stderr
    with Store() as store:
        assert [one.split for one in store.utterances(GUARD_SET)] == ["test", "test"]
    call("guard", "remove", str(listed()[0]["id"]), "--yes")
    assert [one["text"] for one in listed()] == ["vm-newuser"]
    call("guard", "remove", "--all", "--yes")
    assert listed() == []


def test_nothing_is_removed_without_consent(empty_home, manifest):
    call("guard", "add", manifest)
    call("guard", "remove", "--all", stdin=b"n\n", code=1)
    assert len(listed()) == 2


@pytest.mark.parametrize("arguments", [("remove",), ("remove", "1", "--all"), ("remove", "7", "--yes"), ("add", "no")])
def test_errors_are_one_line(empty_home, arguments):
    done = call("guard", *arguments, code=1)
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_recording_of_a_domain_cannot_be_removed_from_the_guard_set(empty_home, manifest):
    call("import", manifest, "--domain", "prompts")
    assert "1 is not a recording of the guard set" in call("guard", "remove", "1", "--yes", code=1).stderr


def test_a_recording_of_a_domain_is_not_added(empty_home, manifest):
    call("import", manifest, "--domain", "prompts")
    done = call("guard", "add", manifest, code=1)
    assert "0 imported" in done.stdout
    assert "2 not added, because a domain has the same recording" in done.stderr
    assert "invalid.flac: is utterance 1 of 'prompts'" in done.stderr
    assert listed() == []


def test_a_line_without_a_text_is_not_added(empty_home, manifest):
    """It could not be compared with what is recognised, so it would not be checked."""
    lines = [{"audio": str(RECORDINGS / f"{name}.flac"), "text": text} for name, text in TEXTS.items()]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = json.loads(call("guard", "add", manifest, "--json", code=1).stdout)
    assert (report["imported"], report["unlabelled"]) == (1, 0)
    empty, no_word = report["bad_texts"]
    assert empty.endswith("vm-newuser.flac: has no text; write what is said")
    assert no_word.endswith("ss-noservice.flac: the text '...' has no word; write what is said")


@pytest.mark.parametrize(
    "arguments",
    [
        ("dataset", "rename", GUARD_SET, "others"),
        ("dataset", "move", "1", "--to", "others"),
        ("correct", "1", "a text", "--domain", "others"),
    ],
    ids=" ".join,
)
def test_recordings_do_not_leave_it_for_a_domain(empty_home, manifest, arguments):
    call("guard", "add", manifest)
    message = call(*arguments, code=1).stderr
    assert "every edit is checked on the recordings of 'general speech'; nothing was changed" in message
    assert len(listed()) == 2


@pytest.mark.parametrize("command", [("correct", "1", "..."), ("label", "set", "1", "!!")], ids=" ".join)
def test_a_text_without_a_word_is_refused(empty_home, manifest, command):
    call("guard", "add", manifest)
    assert "has no word; write what is said" in call(*command, code=1).stderr
    assert listed()[0]["text"] == "invalid"


def test_no_adaptation_to_it_is_proposed(empty_home, manifest):
    call("guard", "add", manifest)
    assert "record" not in call("correct", "1", "an invalid number", "--no-term").stderr


def test_a_change_says_that_stored_error_rates_are_of_other_recordings(empty_home, manifest, monkeypatch):
    assert "measured on other recordings" not in call("guard", "add", manifest).stderr
    edited = SimpleNamespace(current=SimpleNamespace(applied=["an edit"]))
    monkeypatch.setattr("device_app.cli.guard.open_ledger", lambda _model: edited)
    assert "measured on other recordings" not in call("guard", "add", manifest).stderr  # nothing was added
    assert "measured on other recordings" in call("guard", "remove", "--all", "--yes").stderr


def test_nothing_is_trained_on_the_guard_set(empty_home, manifest):
    call("guard", "add", manifest)
    assert call("adapt", "--domain", GUARD_SET, code=1).stderr
    assert "general speech" in call("import", manifest, "--domain", GUARD_SET, code=1).stderr
