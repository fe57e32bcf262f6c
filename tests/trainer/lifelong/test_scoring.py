"""Test splits are scored as they are in their files, parts of recordings too."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from device_app.data.utterance import Utterance
from tests.conftest import write_audio
from trainer.lifelong import scoring
from trainer.lifelong.scoring import Scorer


class Lengths:
    """Writes the seconds of each utterance as its text."""

    def __init__(self, *_arguments, **_options):
        pass

    def texts(self, utterances):
        return [f"{len(one.read()) // 16_000} s" for one in utterances]


@pytest.fixture(autouse=True)
def _without_a_model(monkeypatch):
    monkeypatch.setattr(scoring, "temporarily_baked", lambda _bundle, _weights: nullcontext())
    monkeypatch.setattr(scoring, "UtteranceTranscriber", Lengths)


def test_parts_of_one_recording_are_scored_each_for_itself(tmp_path):
    audio = write_audio(tmp_path / "talk.wav", np.zeros(10 * 16_000, np.float32))
    seconds = [(0, 2), (2, 5), (5, None)]
    parts = [
        Utterance(audio=audio, start=16_000 * a, end=None if b is None else 16_000 * b, text=f"{(b or 10) - a} s")
        for a, b in seconds
    ]
    scorer = Scorer(None, {"talk": SimpleNamespace(test=parts)}, threads=1)
    assert scorer.score({}, ["talk"]) == {"talk": {"wrong": [0, 0, 0], "words": [2, 2, 2]}}
