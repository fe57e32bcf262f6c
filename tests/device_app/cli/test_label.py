import json

import pytest

from device_app.data.store import Store
from device_app.paths import RECORDINGS


@pytest.fixture
def call(run, tmp_path):
    """The command line with a store of the test's own."""
    return lambda *arguments, **more: run(*arguments, ASR_EDGE_HOME=str(tmp_path / "home"), **more)


@pytest.fixture
def run_saved(call):
    """Two prompts that were transcribed and kept."""
    done = call("transcribe", "--save", RECORDINGS / "invalid.flac", RECORDINGS / "vm-newuser.flac")
    assert done.returncode == 0, done.stderr
    assert "are stored on this machine" in done.stderr
    assert "Stored as 1 to 2." in done.stderr
    return call


def shown(call, domain):
    return json.loads(call("dataset", "show", domain, "--json").stdout)


def test_nothing_is_kept_unless_asked_for(call, tmp_path):
    assert call("transcribe", RECORDINGS / "invalid.flac").returncode == 0
    assert not (tmp_path / "home" / "store.sqlite3").exists()


def test_what_is_kept_is_the_sound_and_what_was_recognised(run_saved):
    first, second = shown(run_saved, "my-speech")
    assert (first["text"], second["text"]) == (None, None)
    assert "valid extension" in first["hypothesis"]
    assert 0.5 < first["confidence"] <= 1
    assert first["source"] == "imported"
    assert "valid extension" in run_saved("transcribe", first["audio"]).stdout


@pytest.mark.slow  # the tiny model goes the same way in the default run
def test_the_last_one_is_corrected_into_a_domain(run_saved):
    done = run_saved("correct", "--last", "Welcome to Comedian Mail.", "--domain", "mail")
    assert done.stdout == "2  mail  Welcome to Comedian Mail.\n"
    (corrected,) = shown(run_saved, "mail")
    assert (corrected["text"], corrected["source"]) == ("Welcome to Comedian Mail.", "corrected")
    assert len(shown(run_saved, "my-speech")) == 1


@pytest.mark.slow  # the tiny model goes the same way in the default run
def test_one_is_corrected_by_its_number(run_saved):
    assert run_saved("correct", 1, "I am sorry").returncode == 0
    assert shown(run_saved, "my-speech")[0]["text"] == "I am sorry"


@pytest.mark.slow  # the tiny model goes the same way in the default run
def test_a_label_that_agrees_is_no_correction(run_saved):
    text = shown(run_saved, "my-speech")[0]["hypothesis"]
    assert run_saved("label", "set", 1, text).returncode == 0
    assert shown(run_saved, "my-speech")[0]["source"] == "imported"


@pytest.mark.slow  # golden/wrong-use.txt has the same mistakes
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("correct", "99", "text"), "no utterance 99"),
        (("correct", "text"), "Usage: 'asr-edge correct'"),
        (("correct", "--last", "1", "text"), "--last takes one text, in quotes, and no ID. Usage:"),
        (("correct", "one", "text"), "not the number"),
        (("correct", "--last", "text", "--domain", "a/b"), "cannot be the name"),
        (("label", "set", "1", "\N{RIGHT-TO-LEFT OVERRIDE}text"), "cannot be seen"),
        (("label", "set", "1", " "), "empty"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(run_saved, arguments, message):
    before = shown(run_saved, "my-speech")
    done = run_saved(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert message in done.stderr
    assert shown(run_saved, "my-speech") == before


def test_correcting_without_anything_kept_says_how_to_keep(call):
    done = call("correct", "--last", "text")
    assert done.returncode == 1
    assert "--save" in done.stderr


@pytest.fixture
def desk(terminal, run, tmp_path, virtual_microphone):
    """`asr-edge label` at a terminal, with three prompts that were recognised and not labelled."""
    own = str(tmp_path / "home")
    recordings = [RECORDINGS / name for name in ("invalid.flac", "vm-newuser.flac", "ss-noservice.flac")]

    def start(*arguments):
        return terminal("label", *arguments, **virtual_microphone.environment)

    start.shown = lambda domain="my-speech": shown(lambda *a, **e: run(*a, ASR_EDGE_HOME=own, **e), domain)
    done = run("transcribe", "--save", *recordings, ASR_EDGE_HOME=own)
    assert done.returncode == 0
    return start


@pytest.mark.slow  # test_recording_in_process.py has the same walk
@pytest.mark.microphone
def test_a_walk_accepts_edits_skips_goes_back_plays_and_deletes(desk):
    screen = desk()
    screen.wait_for("[1/3]")
    screen.wait_for("q quit")
    screen.press("p")
    screen.wait_for("q quit")
    screen.press("\r")
    screen.wait_for("[2/3]")
    screen.wait_for("q quit")
    screen.press("e")
    screen.wait_for("text:")
    screen.press("\x15Welcome to Comedian Mail\u202e.\r")
    screen.wait_for("which cannot be seen; take it out")
    screen.wait_for("text:")
    screen.press("\r")
    screen.wait_for("q quit")
    screen.press("\r")
    screen.wait_for("[3/3]")
    screen.wait_for("q quit")
    screen.press("s")
    assert screen.finish() == 0
    assert "2 of 3 confirmed" in screen.screen
    first, second, third = desk.shown()
    assert (first["text"], first["source"]) == (first["hypothesis"], "imported")
    assert (second["text"], second["source"]) == ("Welcome to Comedian Mail.", "corrected")
    assert third["text"] is None

    screen = desk("--domain", "my-speech")  # only what is left
    screen.wait_for("[1/1]")
    screen.wait_for("q quit")
    screen.press("d")
    screen.wait_for("y deletes")
    screen.press("n")
    screen.wait_for("q quit")
    screen.press("d")
    screen.wait_for("y deletes")
    screen.press("y")
    assert screen.finish() == 0
    assert len(desk.shown()) == 2


@pytest.mark.slow  # test_recording_in_process.py has the same walk
def test_a_walk_over_the_least_sure(desk, tmp_path):
    with Store(tmp_path / "home") as store:
        for identity, confidence in ((1, 0.7), (2, 0.3), (3, 0.95)):
            store.set_hypothesis(identity, "as it was recognised", confidence)
        store.set_text(1, "labelled")
    screen = desk("--low-confidence")
    assert "my-speech 2," in screen.wait_for("q quit")
    screen.press("s")
    screen.wait_for("labelled")
    screen.press("q")
    assert screen.finish() == 0
    assert "0 of 2 confirmed" in screen.screen


@pytest.mark.slow  # test_recording_in_process.py has the same walk
def test_nothing_to_label(desk, tmp_path):
    with Store(tmp_path / "home") as store:
        store.delete([1, 2, 3])
    screen = desk()
    assert screen.finish() == 0
    assert "There is nothing to label" in screen.screen


def test_without_a_terminal_it_says_what_to_run(run):
    done = run("label")
    assert done.returncode == 1
    assert "asr-edge label set ID TEXT" in done.stderr
