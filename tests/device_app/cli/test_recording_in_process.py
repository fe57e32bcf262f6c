"""record and label: keys, takes and what is kept of them, in the tests' own process."""

import json
from dataclasses import replace

import numpy as np
import pytest

from device_app.audio.samples import read
from device_app.cli.terminal.live import LiveLine, meter
from device_app.cli.terminal.recording import RecordingScreen
from device_app.data.recordings import recording_of
from device_app.data.store import Store
from device_app.data.terms import stored_terms
from device_app.data.utterance import Utterance
from editing.errors import BadAudioError
from tests.device_app.cli.conftest import call
from tests.device_app.cli.desk import Enter, Line, Now, blocks
from tests.device_app.cli.letters import spell, write_spelled

ENTER = "\r"
QUIET = [np.zeros(800, np.float32)] * 4


@pytest.fixture
def prompts(home_of_tiny):
    from pathlib import Path

    def write(*lines):
        path = Path("prompts.txt")
        path.write_text("\n".join(lines), "utf-8")
        return path

    return write


@pytest.fixture
def take():
    """What a microphone gives when six letters are spelled."""
    return blocks(spell("fioma")[0])


def kept(domain="anna"):
    with Store() as store:
        return list(store.utterances(domain)) if domain in store.domains() else []


def record(*arguments, code=0):
    return call("record", "--domain", "anna", "--model", "tiny", *arguments, code=code, terminal=True)


def test_a_take_is_kept_and_the_session_ends(prompts, take, sound, person):
    device = sound([], take)
    person.keys = [ENTER]
    done = record(prompts("f i o m a"), "--speaker", "anna", "--silence", "1.0")
    assert "Recording into domain 'anna' with desk, 16000 Hz." in done.stderr
    assert "[1/1, 0:00 recorded; 0 of 10: 10 more until you can adapt]" in done.stderr
    assert "kept as " in done.stderr
    assert "All prompts are done." in done.stderr
    assert done.stdout == "anna: 1 of 1 prompt recorded, 0.1 min\n"
    (utterance,) = kept()
    assert (utterance.text, utterance.prompt, utterance.speaker) == ("f i o m a", "f i o m a", "anna")
    assert utterance.source == "recorded"
    assert [asked["samplerate"] for asked in device.opened] == [16_000.0, 16_000.0]


def test_a_take_is_played_refused_edited_and_kept(prompts, take, sound, person):
    device = sound([], take, take)
    person.keys = ["p", "a", "e", Line("something else"), ENTER]
    done = record(prompts("f i o m a"))
    assert len(device.played) == 1
    assert "  something else" in done.stderr
    assert [u.text for u in kept()] == ["something else"]


def test_another_sentence_is_flagged_but_may_be_kept(prompts, take, sound, person):
    sound([], take)
    person.keys = [ENTER]
    done = record(prompts("the quick thinking nurse"))
    assert "the recognised text is very different" in done.stderr
    assert [u.text for u in kept()] == ["the quick thinking nurse"]


def test_an_edit_that_is_no_label_is_asked_for_again_and_ctrl_c_keeps_the_text(prompts, take, sound, person):
    sound([], take)
    person.keys = ["e", Line(" "), Line("\x03"), ENTER]
    done = record(prompts("f i o m a"))
    assert "empty" in done.stderr
    assert [u.text for u in kept()] == ["f i o m a"]


def test_skipping_quitting_and_going_on_where_it_stopped(prompts, take, sound, person):
    sound([], QUIET, take, QUIET)
    path = prompts("f i o m a", "a m o i f")
    person.keys = [Now("s"), ENTER]
    done = record(path)
    assert done.stdout.startswith("anna: 1 of 2 prompts recorded")
    assert "The same command continues with the rest." in done.stderr
    sound([], QUIET)
    person.keys = [Now("q")]
    done = record(path)
    assert "[2/2, 0:0" in done.stderr
    assert len(kept()) == 1


def test_going_back_to_what_was_kept(prompts, take, sound, person):
    device = sound([], take, QUIET, QUIET, take, QUIET)
    path = prompts("f i o m a", "a m o i f")
    person.keys = [ENTER, Now("b"), "p", "e", Line("corrected"), ENTER, Now("b"), "a", ENTER, Now("q")]
    done = record(path)
    assert "(recorded before)" in done.stderr
    assert len(device.played) == 1
    assert done.stdout.startswith("anna: 1 of 2 prompts recorded")
    assert [u.text for u in kept()] == ["corrected"]


def test_an_earlier_recording_that_cannot_be_read_does_not_end_the_session(prompts, take, sound, person, monkeypatch):
    def unreadable(path):
        raise BadAudioError(f"{path}: cannot be read")

    monkeypatch.setattr("device_app.audio.samples.read", unreadable)
    sound([], take, QUIET, QUIET)
    person.keys = [ENTER, Now("b"), "p", ENTER, Now("q")]
    done = record(prompts("f i o m a", "a m o i f"))
    assert "cannot be read; 'asr-edge doctor' looks for" in " ".join(done.stderr.split())
    assert done.stdout.startswith("anna: 1 of 2 prompts recorded")


def test_a_text_that_was_edited_stays_when_its_sentence_is_recorded_again(prompts, take, sound, person):
    sound([], take, QUIET, take, QUIET)
    path = prompts("f i o m a", "a m o i f")
    person.keys = [ENTER, Now("b"), "e", Line("f i o"), "a", ENTER, Now("q")]
    record(path)
    assert [u.text for u in kept()] == ["f i o"]


def test_another_sentence_is_flagged_when_free_speech_is_recorded_again(home_of_tiny, take, sound, person):
    sound([], take, QUIET, blocks(spell("rmarma")[0]), QUIET)
    person.keys = [ENTER, Now("b"), "a", ENTER, Now("q")]
    done = record("--free")
    assert done.stderr.count("the recognised text is very different") == 1
    assert [u.text for u in kept()] == ["f i o m a"]


def test_free_speech_without_a_text_gets_what_is_recognised_when_it_is_recorded_again(
    home_of_tiny, take, sound, person
):
    with Store() as store:
        nothing = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
        store.add([Utterance(recording=recording_of(nothing), domain="anna", source="recorded")])
    sound([], QUIET, take, QUIET)
    person.keys = [Now("b"), "a", ENTER, Now("q")]
    record("--free")
    assert [u.text for u in kept()] == ["f i o m a"]


def test_a_take_in_which_nothing_was_recognised_is_recorded_again_unless_it_is_kept_on_purpose(
    prompts, take, sound, person, monkeypatch
):
    sound([], take, take, take)
    screen = "device_app.cli.terminal.recording.RecordingScreen._measure"
    measure = RecordingScreen._measure

    def without_words(*inputs):
        take, _words = measure(*inputs)
        return replace(take, hypothesis=""), []

    monkeypatch.setattr(screen, without_words)
    person.keys = [ENTER, "p", ENTER, "k"]
    done = record(prompts("f i o m a"))
    assert done.stderr.count("Nothing was recognised. Enter records it again") == 4
    assert done.stderr.count("  f i o m a\n") == 3  # the text is shown again before each further take
    assert len(kept()) == 1


def test_a_kept_take_is_deleted_after_asking_and_its_prompt_comes_again(prompts, take, sound, person):
    sound([], take, QUIET, QUIET, take, QUIET)
    path = prompts("f i o m a")
    person.keys = [ENTER]
    record(path)
    sound([], QUIET, take)
    path.write_text("f i o m a\na m o i f\n")
    person.keys = [Now("b"), "d", "n", "d", "y", Now("q")]
    done = record(path)
    assert "  deleted" in done.stderr
    assert "[1/2, 0:00 recorded" in done.stderr
    assert kept() == []


def test_a_session_ends_with_what_is_missing_and_the_next_command(prompts, take, sound, person):
    sound([], take)
    person.keys = [ENTER]
    done = call("record", prompts("f i o m a"), "--model", "tiny", terminal=True)
    assert done.stderr.endswith("1 of 10: 9 more until you can adapt. Next: asr-edge record\n")
    assert len(kept("my-speech")) == 1


def test_nothing_is_before_the_first_and_enter_goes_forward(prompts, take, sound, person):
    sound([], QUIET, take, QUIET, QUIET)
    path = prompts("f i o m a", "a m o i f")
    person.keys = [Now("b"), ENTER, Now("b"), ENTER, Now("q")]
    done = record(path)
    assert "there is no earlier recording" in done.stderr
    assert done.stderr.count("(recorded before)") == 1


def test_a_key_begins_and_ends_a_take(prompts, take, sound, person):
    sound([], QUIET, QUIET)
    person.keys = [Now(" "), Now(" "), "q"]
    done = record(prompts("One."))
    assert "no speech was found" in done.stderr
    assert kept() == []


def test_free_speech_is_labelled_with_what_is_recognised(home_of_tiny, take, sound, person):
    sound([], take, QUIET)
    person.keys = [ENTER, Now("\x03")]
    done = record("--free")
    assert "(say anything)" in done.stderr
    assert "[2, 0:0" in done.stderr
    (utterance,) = kept()
    assert utterance.text == utterance.hypothesis
    assert utterance.prompt is None
    assert done.stdout == "anna: 1 recorded, 0.1 min\n"


def test_a_take_of_which_audio_was_lost_is_recorded_again_unless_it_is_kept_on_purpose(prompts, take, sound, person):
    sound([], take, take).overflows = True
    person.keys = [ENTER, "k"]
    done = record(prompts("f i o m a"))
    assert "Some audio was lost: this computer cannot keep up" in done.stderr
    assert done.stderr.count("Some audio was lost. Enter records it again") == 2
    assert len(kept()) == 1


def test_a_rate_that_the_device_lacks_and_a_device_that_is_not_there(prompts, sound, person):
    sound()
    path = prompts("f i o m a")
    assert "cannot record at 96000 Hz" in record(path, "--sample-rate", "96000", code=1).stderr
    assert "'asr-edge transcribe --list-devices'" in record(path, "--device", "none", code=1).stderr


def test_prompts_and_free_speech_exclude_each_other(prompts, person):
    assert "not both" in record(prompts("One."), "--free", code=1).stderr


# label


@pytest.fixture
def unlabelled(home_of_tiny, tmp_path):
    """Three recordings of the domain "my-speech", not labelled: f i, o m, a r."""
    paths = [write_spelled(tmp_path / f"{letters}.wav", letters) for letters in ("fio", "oma", "arm")]
    call("transcribe", "--save", *paths, "--model", "tiny")
    return home_of_tiny


def label(*arguments, code=0):
    return call("label", "--model", "tiny", *arguments, code=code, terminal=True)


def test_a_walk_accepts_edits_skips_and_goes_back(unlabelled, sound, person):
    device = sound()
    person.keys = ["p", ENTER, "e", Line("o m x"), "b", "s", ENTER, "s"]
    done = label()
    assert "[1/3]" in done.stderr
    assert "[3/3]" in done.stderr
    assert len(device.played) == 1
    first, second, third = kept("my-speech")
    assert first.text == first.hypothesis
    assert second.text == second.hypothesis  # the edit was left with "b"
    assert third.text is None
    assert done.stdout == "2 of 3 confirmed\n"


def test_an_edited_text_is_a_correction(unlabelled, person):
    person.keys = ["e", Line("f i x"), ENTER, "q"]
    assert label().stdout == "1 of 3 confirmed\n"
    assert (kept("my-speech")[0].text, kept("my-speech")[0].source) == ("f i x", "corrected")


@pytest.mark.parametrize(("key", "terms"), [("n", []), (ENTER, ["Huesca"])])
def test_a_corrected_word_becomes_a_term_unless_it_is_refused(unlabelled, person, key, terms):
    person.keys = ["e", Line("Huesca i o"), ENTER, key, "q"]
    assert "Expected from now on: Huesca · n refuses" in label().stderr
    assert [term.text for term in stored_terms().terms] == terms


def test_a_walk_without_terms_asks_nothing(unlabelled, person):
    person.keys = ["e", Line("Huesca i o"), ENTER, "q"]
    assert "Expected" not in label("--no-term").stderr
    assert stored_terms().terms == ()


def test_a_walk_deletes_after_asking(unlabelled, person):
    person.keys = ["d", "n", "d", "y", "\x03"]
    done = label("--domain", "my-speech")
    assert "y deletes" in done.stderr
    assert done.stdout == "0 of 3 confirmed\n"
    assert len(kept("my-speech")) == 2


def test_the_least_sure_first(unlabelled, person):
    first, second, third = kept("my-speech")
    with Store() as store:
        for utterance, confidence in ((first, 0.7), (second, 0.3), (third, 0.95)):
            store.set_hypothesis(utterance.number, "as it was", confidence)
    person.keys = ["s", "q"]
    done = label("--low-confidence", "--domain", "my-speech")
    places = [done.stderr.index(f"my-speech {utterance.number},") for utterance in (second, first)]
    assert places == sorted(places)
    assert done.stdout == "0 of 2 confirmed\n"
    assert f"my-speech {third.number}," not in done.stderr


def test_nothing_to_label_and_no_terminal(home_of_tiny, person):
    assert "There is nothing to label." in label().stderr
    done = call("label", "--model", "tiny", code=1)
    assert "asr-edge label set ID TEXT" in done.stderr
    assert "without one use" in call("record", "--domain", "anna", code=1).stderr


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"fLaC")], ids=["missing", "damaged"]
)
def test_a_recording_that_cannot_be_read_is_reported_and_the_others_are_labelled(unlabelled, person, damage):
    damaged = kept("my-speech")[1].audio
    damage(damaged)
    person.keys = [ENTER, "b", ENTER, ENTER]  # back leads to the first, not to the damaged one
    done = label()
    assert f"  {damaged}:" in done.stderr
    assert "left out. 'asr-edge doctor' looks for" in " ".join(done.stderr.split())
    assert done.stdout == "2 of 3 confirmed\n"
    assert [utterance.text is None for utterance in kept("my-speech")] == [False, True, False]


def test_what_was_confirmed_before_is_not_counted_unless_it_is_confirmed_again(unlabelled, person):
    for utterance in kept("my-speech"):
        with Store() as store:
            store.set_hypothesis(utterance.number, "as it was", 0.5)
            store.set_text(utterance.number, "f i x")
    person.keys = [ENTER, "s", "q"]
    done = label("--low-confidence")
    assert done.stdout == "1 of 3 confirmed\n"
    assert "f i x" in done.stderr


@pytest.mark.parametrize("command", ["label", "correct"])
def test_the_latest_hypothesis_is_offered_compared_and_stored(unlabelled, person, command):
    *_, last = kept("my-speech")
    with Store() as store:
        store.delete([utterance.number for utterance in kept("my-speech")[:-1]])
        store.set_hypothesis(last.number, "Huesca", 0.1)  # of an earlier version
    person.keys = [Enter()] if command == "correct" else [ENTER]
    done = correct() if command == "correct" else label()
    assert "recognised: a r m" in done.stderr
    (utterance,) = kept("my-speech")
    assert (utterance.text, utterance.hypothesis, utterance.source) == ("a r m", "a r m", "imported")
    assert utterance.confidence > 0.1


def test_what_has_no_text_at_all_is_labelled_by_typing(home_of_tiny, person):
    with Store() as store:
        nothing = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
        store.add([Utterance(recording=recording_of(nothing), domain="new", source="recorded")])
    person.keys = [ENTER, Line("f i o"), ENTER]
    assert "recognised: nothing" in label("--domain", "new").stderr
    assert kept("new")[0].text == "f i o"


# correct


def correct(*arguments, code=0):
    return call("correct", *arguments, "--model", "tiny", code=code, terminal=True)


@pytest.mark.parametrize("arguments", [(), ("NUMBER",)])
def test_without_a_text_the_hypothesis_is_edited(unlabelled, person, arguments):
    number = kept("my-speech")[-1].number
    person.keys = [Line("f i x")]
    done = correct(*(number if one == "NUMBER" else one for one in arguments))
    assert "recognised: a r m" in done.stderr
    assert done.stdout == f"{number}  my-speech  f i x\n"
    assert "1 of 10: 9 more until you can adapt. Next: asr-edge label" in done.stderr
    assert (kept("my-speech")[-1].text, kept("my-speech")[-1].source) == ("f i x", "corrected")


@pytest.mark.parametrize("arguments", [(), ("--last",)])
def test_a_text_is_edited_and_its_hypothesis_stays(unlabelled, person, arguments):
    *_, last = kept("my-speech")
    with Store() as store:
        store.set_text(last.number, "f i x")
    person.keys = [Enter()]
    assert "recognised: a r m" in correct(*arguments).stderr
    *_, after = kept("my-speech")
    assert (after.text, after.hypothesis) == ("f i x", last.hypothesis)


def test_last_takes_the_text(unlabelled):
    assert call("correct", "--last", "f i x").stdout.endswith("  my-speech  f i x\n")
    assert "--last takes one text, in quotes, and no ID" in call("correct", "--last", "f", "i", code=1).stderr


def test_ctrl_c_changes_nothing(unlabelled, person):
    person.keys = [Line("\x03")]
    assert "Nothing was changed." in correct("--domain", "mail").stderr
    assert kept("my-speech")[-1].text is None


def test_correct_needs_a_terminal_or_a_text(unlabelled):
    assert "without one use 'asr-edge correct ID TEXT'" in call("correct", "--model", "tiny", code=1).stderr


# live


def test_the_meter_is_full_at_0_dbfs_and_empty_at_60_below():
    assert (meter(0.0), meter(-60.0), meter(-90.0)) == ("█" * 10, " " * 10, " " * 10)
    assert meter(-30.0) == "█████     "


def test_the_live_line_shows_the_end_of_a_long_text(monkeypatch, capsys):
    line = LiveLine()
    line.show(-10.0)
    assert capsys.readouterr().err == ""
    line.is_visible, line.text = True, "a" * 100 + "end"
    monkeypatch.setenv("COLUMNS", "40")
    line.show(-10.0)
    shown = capsys.readouterr().err
    assert shown.startswith("\r\x1b[K[")
    assert shown.endswith("aend")
    assert "…" in shown
    line.clear()
    assert line.text == ""
    assert capsys.readouterr().err == "\r\x1b[K"


def test_what_the_store_keeps_of_a_take_is_its_sound(prompts, take, sound, person):
    sound([], take)
    person.keys = [ENTER]
    record(prompts("f i o m a"))
    (utterance,) = kept()
    assert len(read(utterance.audio)) / 16_000 == pytest.approx(utterance.duration_s, abs=0.05)
    shown = json.loads(call("dataset", "show", "anna", "--json").stdout)
    assert shown[0]["snr_db"] == utterance.snr_db
