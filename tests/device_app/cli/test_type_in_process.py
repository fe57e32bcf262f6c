"""`asr-edge type` in the process of the tests: a window in memory, and a microphone that gives recordings."""

import contextlib
import json

import numpy as np
import pytest

from device_app.audio import microphone
from device_app.audio.samples import SAMPLE_RATE, read
from device_app.dictation import window
from device_app.dictation.control import Command, CommandServer, send
from device_app.paths import RECORDINGS
from tests.command_line import call
from tests.device_app.dictation.screen import Screen


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(window, "focused_window", lambda: screen)
    return screen


@pytest.fixture
def says(monkeypatch, tmp_path, own_home):
    """A microphone with a recording, after which the user runs `asr-edge type` with some actions."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    asked = []

    def prepare(name, *actions):
        class Opened:
            sample_rate = SAMPLE_RATE

            def __iter__(self):
                audio = np.concatenate([read(RECORDINGS / name), np.zeros(2 * SAMPLE_RATE, np.float32)])
                for start in range(0, len(audio), 1600):
                    yield audio[start : start + 1600]
                for action in actions:
                    call("type", action)
                while True:
                    yield np.zeros(1600, np.float32)

        def opened(device):
            asked.append(device)
            return contextlib.nullcontext(Opened())

        class Server(CommandServer):
            def __enter__(self):
                server = super().__enter__()
                send(Command.TOGGLE)
                return server

        monkeypatch.setattr("device_app.dictation.control.CommandServer", Server)
        monkeypatch.setattr(microphone, "Microphone", opened)
        return asked

    return prepare


def test_what_is_said_is_typed_until_the_action_quit(screen, says, transcriber):
    asked = says("ss-noservice.flac", "quit")
    done = call("type", "--device", "headset")
    assert screen.text.startswith("The number you have dialed is not in service")
    assert asked == ["headset"]
    assert "Ready. 'asr-edge type toggle' starts and stops listening; Ctrl-C ends." in done.stderr
    assert "stored on this machine" not in done.stderr
    assert call("dataset", "list", "--json").stdout == "[]\n"


def test_with_learn_the_audio_and_the_text_are_stored_in_the_domain(screen, says, transcriber):
    says("ss-noservice.flac", "quit")
    done = call("type", "--learn", "--domain", "letters")
    assert "Audio and text are stored on this machine" in done.stderr
    (kept,) = json.loads(call("dataset", "show", "letters", "--json").stdout)
    assert screen.text.strip() == kept["hypothesis"].strip()


def test_an_action_without_a_running_dictation_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = call("type", "toggle", code=1)
    assert done.stderr == "asr-edge: no dictation runs; start it with 'asr-edge type'\n"
