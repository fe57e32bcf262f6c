"""A person records at a terminal, through PortAudio, from a microphone that records what is played."""

import json
import re
import signal

import pytest

from device_app.data.store import Store
from device_app.paths import RECORDINGS

pytestmark = pytest.mark.microphone

SHORT = RECORDINGS / "invalid.flac"  # "I'm sorry, that is not a valid extension. Please try again."
SAID = "I'm sorry, that is not a valid extension. Please try again."
KEYS = "q quit\r\n"  # the line that is shown when a take is to be judged


@pytest.fixture
def desk(terminal, virtual_microphone, tmp_path):
    """Starts `asr-edge record` at a terminal, beside the microphone."""

    def start(*arguments):
        return terminal("record", "--domain", "anna", "--device", "pulse", *arguments, **virtual_microphone.environment)

    return start


@pytest.fixture
def prompts(tmp_path):
    def write(*lines):
        path = tmp_path / "prompts.txt"
        path.write_text("\n".join(lines), "utf-8")
        return path

    return write


@pytest.fixture
def say(virtual_microphone):
    """Waits until the screen listens, speaks, waits for the verdict; gives what was shown."""

    def speak(screen, recording=SHORT):
        screen.wait_for("Space starts")
        virtual_microphone.play(recording)
        return screen.wait_for(KEYS)

    return speak


@pytest.fixture
def kept(tmp_path):
    def read():
        with Store(tmp_path / "home") as store:
            return list(store.utterances())

    return read


def test_a_sentence_is_heard_judged_and_kept(desk, prompts, say, kept):
    screen = desk(prompts(SAID))
    shown = say(screen)
    assert "recognised: " in shown
    assert "is not a valid" in shown
    assert "!" not in shown
    screen.press("\r")
    screen.wait_for("kept as recording 1")
    screen.wait_for("All prompts are done.")
    assert screen.finish() == 0
    assert "anna: 1 of 1 prompt recorded" in screen.screen
    (utterance,) = kept()
    assert (utterance.text, utterance.prompt, utterance.source) == (SAID, SAID, "recorded")
    assert 3.0 < utterance.duration_s < 5.5  # trimmed to the speech
    assert "valid extension" in utterance.hypothesis
    assert utterance.snr_db > 20
    assert utterance.clipped < 0.001


@pytest.mark.slow  # tests/device_app/cli/test_recording_in_process.py presses the same keys without waiting
def test_another_sentence_is_flagged_but_may_be_kept(desk, prompts, say, kept):
    screen = desk(prompts("The quick thinking nurse saved both children."))
    assert "the recognised text is very different" in say(screen)
    screen.press("\r")
    assert screen.finish() == 0
    assert kept()[0].text == "The quick thinking nurse saved both children."


@pytest.mark.slow  # tests/device_app/cli/test_recording_in_process.py presses the same keys without waiting
def test_stop_resume_go_back_record_again_and_edit(desk, prompts, say, kept, run, tmp_path):
    lines = [f"{SAID[:-1]}, number {word}." for word in ("one", "two", "three")]
    path = prompts(*lines)
    first = desk(path)
    say(first)
    first.press("\r")
    first.wait_for("kept as recording 1")
    first.wait_for("Space starts")
    first.press("q")
    assert first.finish() == 0
    assert "1 of 3 prompts recorded" in first.screen
    assert "continues with the rest" in first.screen

    second = desk(path)
    second.wait_for("[2/3, 0:0")
    before = kept()[0]
    second.wait_for("Space starts")
    second.press("b")
    second.wait_for("(recorded before)")
    second.wait_for(KEYS)
    second.press("a")
    say(second)
    second.press("\r")
    second.wait_for("kept as recording 1")
    again = kept()[0]
    assert again.sha256 != before.sha256
    assert not before.audio.exists()
    assert (again.split, again.text) == (before.split, before.text)
    say(second)
    second.press("e")
    second.wait_for("text:")
    second.press("\x15Something else.\r")
    second.wait_for(KEYS)
    second.press("\r")
    second.wait_for("kept as recording 2")
    second.wait_for("Space starts")
    second.press("s")
    assert second.finish() == 0
    assert "2 of 3 prompts recorded" in second.screen
    assert [u.text == "Something else." for u in kept()] == [False, True]
    stats = json.loads(run("dataset", "stats", "anna", "--json", ASR_EDGE_HOME=str(tmp_path / "home")).stdout)
    assert (stats[0]["utterances"], stats[0]["unlabelled"]) == (2, 0)
    assert stats[0]["seconds"] == pytest.approx(sum(u.duration_s for u in kept()))


@pytest.mark.slow  # tests/device_app/cli/test_recording_in_process.py presses the same keys without waiting
def test_a_take_can_be_started_and_stopped_by_key_played_and_refused(desk, prompts, kept, virtual_microphone):
    screen = desk(prompts("One."))
    screen.wait_for("Space starts")
    screen.press(" ")
    screen.wait_for("● 0.5 s")
    screen.press(" ")
    assert "no speech was found" in screen.wait_for(KEYS)
    screen.press("p")
    screen.wait_for(KEYS)
    screen.press("a")
    screen.wait_for("Space starts")
    with virtual_microphone.playing(SHORT):
        screen.wait_for("● 1.0 s")
        screen.press(" ")
        assert "the end is cut off" in screen.wait_for(KEYS)
    screen.press("q")
    assert screen.finish() == 0
    assert kept() == []


@pytest.mark.slow  # tests/device_app/cli/test_recording_in_process.py presses the same keys without waiting
def test_free_speech_is_labelled_with_what_was_heard(desk, say, kept):
    screen = desk("--free")
    say(screen)
    screen.press("\r")
    screen.wait_for("[2, 0:0")
    screen.press("\x03")
    assert screen.finish() == 0
    (utterance,) = kept()
    assert utterance.text == utterance.hypothesis
    assert utterance.prompt is None


@pytest.mark.slow  # tests/device_app/audio/test_microphone.py unplugs it in the default run
def test_a_microphone_that_goes_away_loses_nothing(desk, prompts, say, kept, virtual_microphone):
    screen = desk(prompts(SAID, "Another one."))
    say(screen)
    screen.press("\r")
    screen.wait_for("Space starts")
    virtual_microphone.control("unload-module", "module-null-sink")
    try:
        assert screen.finish() == 1
    finally:
        virtual_microphone.control("load-module", "module-null-sink", "sink_name=speaker")
        virtual_microphone.control("set-default-source", "speaker.monitor")
    assert "was it unplugged?" in screen.screen
    assert "Traceback" not in screen.screen
    assert len(kept()) == 1


@pytest.mark.slow  # tests/device_app/cli/test_recording_in_process.py presses the same keys without waiting
def test_two_may_record_at_once(desk, prompts, kept, virtual_microphone):
    path = prompts(SAID)
    screens = [desk(path), desk(path)]
    for screen in screens:
        screen.wait_for("Space starts")
    virtual_microphone.play(SHORT)
    first, second = screens
    for screen in screens:
        screen.wait_for(KEYS)
    first.press("\r")
    assert first.finish() == 0
    second.press("a")  # the two microphones gave the same samples, and a domain holds a recording once
    second.wait_for("Space starts")
    virtual_microphone.play(SHORT)
    second.wait_for(KEYS)
    second.press("\r")
    assert second.finish() == 0
    assert len(kept()) == 2


@pytest.mark.slow
def test_ten_prompts_in_two_sittings(desk, prompts, say, kept):
    path = prompts(*(f"{SAID} {number}" for number in range(10)))
    screen = desk(path)
    for number in range(5):
        say(screen)
        screen.press("\r")
        screen.wait_for(f"kept as recording {number + 1}")
    screen.wait_for("Space starts")
    screen.process.send_signal(signal.SIGKILL)
    screen.finish()
    screen = desk(path)
    screen.wait_for("[6/10, ")
    for number in range(5, 10):
        say(screen)
        screen.press("\r")
        screen.wait_for(f"kept as recording {number + 1}")
    assert screen.finish() == 0
    minutes = sum(u.duration_s for u in kept()) / 60
    assert re.search(rf"anna: 10 of 10 prompts recorded, {minutes:.1f} min", screen.screen)


def test_without_a_terminal_it_says_what_to_run(run):
    done = run("record", "--domain", "anna")
    assert done.returncode == 1
    assert "asr-edge import" in done.stderr
