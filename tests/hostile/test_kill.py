"""kill -9 at random moments of recording, labelling, adapting and reverting: nothing that was confirmed is lost."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.recordings import recording_of
from device_app.data.repair.utterances import examine, repair
from device_app.data.store import Store
from device_app.data.utterance import Utterance
from device_app.models.ledger import Ledger, edited
from device_app.recognition.transcriber import Transcriber
from tests.conftest import write_audio

pytestmark = pytest.mark.slow
KILLS = 100


def check(folder):
    """Every row has its audio, after `doctor` every audio has its row, and a second look finds nothing."""
    with Store(folder) as store:
        assert all(u.audio.is_file() for u in store.utterances())
        repair(store, examine(store))
        assert not examine(store)
        return {u.number: u.text for u in store.utterances()}


@pytest.mark.microphone
def test_recording(terminal, virtual_microphone, reading, tmp_path):
    rng = random.Random(0)
    confirmed: set[int] = set()
    for _ in range(KILLS):
        # Each round begins elsewhere: identical recordings are refused.
        talk = write_audio(tmp_path / "talk.wav", np.tile(np.roll(reading, rng.randrange(len(reading))), 3))
        player = virtual_microphone.playing(talk)
        screen = terminal("record", "--domain", "anna", "--free", "--device", "pulse", **virtual_microphone.environment)
        for _ in range(rng.randrange(3)):
            screen.press(take(screen))
            screen.wait_for("kept as")
        screen.press(take(screen))
        time.sleep(rng.uniform(0, 0.06))
        screen.process.send_signal(signal.SIGKILL)
        screen.finish()
        player.kill()
        player.wait()
        confirmed |= {int(number) for number in re.findall(r"kept as recording (\d+)", screen.screen)}
        assert confirmed <= check(tmp_path / "home").keys()
    assert len(confirmed) > KILLS / 2


def take(screen):
    """Records a moment; returns the key that keeps it."""
    screen.wait_for("Space starts")
    screen.wait_for("●")  # speech is playing, so the take begins by itself
    time.sleep(0.3)
    screen.press(" ")
    return "k" if "Nothing was recognised" in screen.wait_for("q quit\r\n") else "\r"


def test_labelling(terminal, noise, reading, tmp_path):
    rng = random.Random(0)
    with Store(tmp_path / "home") as store:
        clips = np.array_split(reading[: 40 * SAMPLE_RATE], 40)
        for round_ in range(12):
            store.add(
                [
                    Utterance(
                        domain="anna",
                        source="recorded",
                        recording=recording_of(clip + noise(len(clip) / SAMPLE_RATE, -60, round_)),
                    )
                    for clip in clips
                ]
            )
    confirmed: set[int] = set()
    for _ in range(KILLS):
        screen = terminal("label", TERM="xterm")
        for _ in range(rng.randrange(3)):
            answer(screen)
        time.sleep(rng.uniform(0, 0.03))
        screen.process.send_signal(signal.SIGKILL)
        screen.finish()
        shown = [int(number) for number in re.findall(r"anna (\d+), ", screen.screen)]
        confirmed |= set(shown[:-1])  # the next is shown only when the one before was written
        texts = check(tmp_path / "home")
        assert len(texts) == 480
        assert all(texts[identity] for identity in confirmed)
    assert len(confirmed) > KILLS / 2


def answer(screen):
    """Accepts the hypothesis, or types a text where there is none."""
    shown = screen.wait_for("q quit\r\n")
    if "recognised: nothing" in shown:
        screen.press("e")
        screen.wait_for("text:")
        screen.press("something\r")
        screen.wait_for("q quit\r\n")
    screen.press("\r")


def asr(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "device_app", *map(str, arguments)],
        env={**os.environ, "ASR_EDGE_HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def transcribed(monkeypatch, folder, bundle, audio):
    """The text of the active version, which must always work."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    return Transcriber(edited(bundle), threads=2).transcribe(audio, SAMPLE_RATE).text


def test_adapting_and_reverting(codes, bundle, transcriber, prompt, home, tmp_path, monkeypatch):
    rng = random.Random(0)
    folder = tmp_path / "home"
    shutil.copytree(home / "baked", folder / "baked")
    asr(folder, "import", codes, "--domain", "codes").communicate()
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    command = ("adapt", "--domain", "codes", "--epochs", 1, "--force")
    began = time.monotonic()
    out, err = asr(folder, *command).communicate()
    assert "is active" in out, err
    took = time.monotonic() - began
    confirmed = 1
    for _ in range(KILLS // 2):
        process = asr(folder, *command)
        time.sleep(rng.uniform(0, 1.1) * took)
        process.kill()
        out, _ = process.communicate()
        confirmed += "is active" in out
        assert len(Ledger(bundle).edits) >= confirmed
        assert "not in service" in transcribed(monkeypatch, folder, bundle, prompt)
        confirmed = len(Ledger(bundle).edits)
    for _ in range(KILLS // 2):
        ledger = Ledger(bundle)
        applied = [one.edit for one in ledger.current.applied]
        back = ("revert", rng.choice(applied)) if applied else ("rollback",)
        process = asr(folder, *back)
        time.sleep(rng.uniform(0.2, 2.0))
        process.kill()
        out, _ = process.communicate()
        if "is active" in out and back[0] == "revert":
            assert not Ledger(bundle).is_applied(back[1])
        assert "not in service" in transcribed(monkeypatch, folder, bundle, prompt)
    with Store(folder) as store:
        repair(store, examine(store))
        assert not examine(store)
