"""The evaluation of manifests, without a model."""

from types import SimpleNamespace

import numpy as np

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from device_app.evaluation.evaluate import evaluate
from tests.conftest import write_audio


def test_a_recording_is_decoded_once_for_all_its_parts(tmp_path, decodings):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)
    path = write_audio(tmp_path / "x.ogg", noise)
    utterances = [
        Utterance(audio=path, start=start * SAMPLE_RATE, end=(start + 1) * SAMPLE_RATE, text="a") for start in range(10)
    ]
    transcriber = SimpleNamespace(transcribe=lambda _audio, _rate: SimpleNamespace(text="a"), language="en")
    report = evaluate(transcriber, {"first": utterances[:6], "second": utterances[6:]})
    assert (report["utterances"], report["duration_s"]) == (10, 10.0)
    assert decodings == [path]
