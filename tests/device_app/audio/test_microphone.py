"""The real path: a recording is played, PortAudio records it, text comes out."""

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_app.data.store import Store
from device_app.paths import RECORDINGS
from tests.conftest import microphone_is_missing

pytestmark = pytest.mark.microphone

ALSA = Path("/usr/share/alsa/alsa.conf")


@pytest.fixture
def start(virtual_microphone, transcriber):
    """Starts `asr-edge transcribe` beside the virtual microphone; ends it with the test."""
    with contextlib.ExitStack() as started:

        def call(*arguments, **pipes):
            process = subprocess.Popen(
                [sys.executable, "-m", "device_app", "transcribe", *arguments],
                env={**os.environ, **virtual_microphone.environment, "TERM": "xterm", "COLUMNS": "100"},
                # Where the tests run in a script's background, children would ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                **pipes,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield call


def wait_for_listening(process):
    seen = b""
    while b"Listening" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line


def play(process, virtual_microphone, recording):
    """Plays a recording to the listening process, stops it with Ctrl-C; its two outputs."""
    wait_for_listening(process)
    time.sleep(0.5)  # the stream has been opened, but on a busy machine no block has come yet
    virtual_microphone.play(recording)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    return out.decode(), err.decode()


def test_devices_are_listed(virtual_microphone, start):
    process = start("--list-devices", "-f", "json", stdout=subprocess.PIPE)
    devices = json.loads(process.communicate(timeout=30)[0])
    assert any(device["name"] == "pulse" for device in devices)
    assert all(device["channels"] > 0 for device in devices)


# Live text, `--save` and their formats are tested without waiting in cli/test_transcribe_in_process.py, and the way
# from PortAudio to the text in the next test but one.
@pytest.mark.slow
def test_speech_becomes_plain_lines_when_piped(virtual_microphone, start):
    process = start("--device", "pulse", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = play(process, virtual_microphone, RECORDINGS / "ss-noservice.flac")
    assert "the number you have dialed is not in service" in out.lower()
    assert "\x1b" not in out + err
    assert "Traceback" not in err


@pytest.mark.slow
def test_audio_and_text_are_stored_with_save(virtual_microphone, start, tmp_path, monkeypatch, home):
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path))
    shutil.copytree(home / "baked", tmp_path / "baked")
    process = start("--device", "pulse", "--save", "--domain", "phone", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = play(process, virtual_microphone, RECORDINGS / "invalid.flac")
    with Store(tmp_path) as store:
        kept = list(store.utterances("phone"))
    assert "valid extension" in " ".join(utterance.hypothesis for utterance in kept)
    assert {utterance.source for utterance in kept} == {"recorded"}
    assert "Stored as" in err


def test_interrupted_speech_is_still_written(virtual_microphone, start):
    process = start("--device", "pulse", "-f", "jsonl", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_listening(process)
    with virtual_microphone.playing(RECORDINGS / "ss-noservice.flac") as player:
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        player.terminate()
    assert process.returncode == 0
    (line,) = out.decode().splitlines()
    assert json.loads(line)["text"].startswith("The number")


def test_a_person_sees_the_meter_and_partial_texts(virtual_microphone, start):
    """Through a pseudo-terminal, as at a desk."""
    controller, terminal = pty.openpty()
    process = start("--device", "pulse", stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    screen = read_until(controller, "Listening", 20)
    virtual_microphone.play(RECORDINGS / "ss-noservice.flac")
    screen += read_until(controller, "try again", 5) + read_until(controller, "never", 1.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    os.close(controller)
    drawn = re.findall(r"\r\x1b\[K\[(.{10})\] ?([^\r\n]*)", screen)
    meters = {meter.strip() for meter, _ in drawn}
    partials = {text.strip() for _, text in drawn} - {""}
    assert len(meters) > 5
    assert len(partials) >= 4
    assert min(map(len, partials)) < 30
    finals = re.findall(r"\r\x1b\[K((?:The|the) number[^\r\n\x1b]*)\r\n", screen)
    assert finals


def read_until(descriptor, text, seconds):
    """What is written to the terminal until a text appears or the time is over."""
    end, seen = time.monotonic() + seconds, ""
    while text not in seen and (left := end - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            seen += os.read(descriptor, 65536).decode(errors="replace")
    return seen


def test_a_microphone_that_is_not_there(virtual_microphone, start):
    process = start("--device", "nonsense", stderr=subprocess.PIPE)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1].startswith("asr-edge: microphone 'nonsense'")
    assert "--list-devices" in err.decode()


def test_a_microphone_that_goes_away(virtual_microphone, start):
    """Its sound card is taken out of the server, as when a cable is pulled."""
    process = start("--device", "pulse", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_listening(process)
    virtual_microphone.control("unload-module", "module-null-sink")
    try:
        _, err = process.communicate(timeout=30)
    finally:
        virtual_microphone.control("load-module", "module-null-sink", "sink_name=speaker")
        virtual_microphone.control("set-default-source", "speaker.monitor")
    assert process.returncode == 1
    assert "was it unplugged?" in err.decode().splitlines()[-1]


@pytest.mark.skipif(microphone_is_missing() != "" or not ALSA.is_file(), reason="PortAudio with ALSA is not installed")
def test_a_device_name_that_is_not_utf8_is_listed_and_can_be_chosen(tmp_path):
    """PortAudio gives the bytes of ALSA's configuration."""
    configuration = tmp_path / "asound.conf"
    configuration.write_bytes(b'<%s>\npcm."mic\xe9" { type null }\n' % bytes(ALSA))
    code = "from device_app.audio.microphone import Microphone, input_devices; print([d.name for d in input_devices()])"
    code += "; print(Microphone('mic').name)"
    environment = {**os.environ, "ALSA_CONFIG_PATH": str(configuration), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False, timeout=60)
    listed, chosen = done.stdout.decode().splitlines()
    assert "mic\N{REPLACEMENT CHARACTER}" in listed
    assert chosen == "mic\N{REPLACEMENT CHARACTER}"
