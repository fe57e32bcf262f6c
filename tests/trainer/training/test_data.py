import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.audio.samples import SAMPLE_RATE
from device_app.audio.vad import VoiceActivity, speech_span
from device_app.data.utterance import Utterance
from tests.conftest import write_audio
from trainer.training.data import MAX_UTTERANCES, TrainingUtterance, batches, load_examples, padded


def example(seconds):
    return TrainingUtterance(end=round(seconds * SAMPLE_RATE), tokens=[1])


lengths = st.lists(st.floats(0.2, 30), min_size=1, max_size=80)


@given(lengths, st.floats(5, 60), st.one_of(st.none(), st.integers(0, 99)))
def test_every_utterance_is_in_one_batch_and_no_batch_is_too_long(seconds, limit, seed):
    examples = [example(s) for s in seconds]
    groups = batches(examples, limit, None if seed is None else np.random.default_rng(seed))
    assert sorted(id(one) for group in groups for one in group) == sorted(map(id, examples))
    for group in groups:
        assert len(group) <= MAX_UTTERANCES
        assert len(group) == 1 or max(one.duration_s for one in group) * len(group) <= limit


def test_the_seed_determines_the_order():
    examples = [example(s) for s in np.linspace(1, 5, 40)]
    orders = [[one.duration_s for g in batches(examples, 20, np.random.default_rng(s)) for one in g] for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_silence_around_speech_is_removed(prompt, noise, tmp_path):
    around = np.concatenate([noise(3.0, -70), prompt, noise(4.0, -70)])
    start, end = speech_span(around, VoiceActivity())
    assert 2.3 < start / SAMPLE_RATE <= 3.3
    assert 0 <= len(around) / SAMPLE_RATE - end / SAMPLE_RATE - 4.0 + 1.0 < 1.5
    assert speech_span(noise(3.0, -70), VoiceActivity()) is None
    path = write_audio(tmp_path / "a.flac", around)
    (found,) = load_examples([Utterance(audio=path, text="text")], lambda _text: [5, 2])
    assert len(found.read()) == end - start
    assert found.duration_s == pytest.approx((end - start) / SAMPLE_RATE)


def test_batches_are_padded_with_zeros(tmp_path, noise):
    paths = [write_audio(tmp_path / f"{i}.flac", noise(i + 1.0)) for i in range(2)]
    examples = [
        TrainingUtterance(audio=path, end=round((i + 1.0) * SAMPLE_RATE), tokens=[1]) for i, path in enumerate(paths)
    ]
    audio, found = padded(examples)
    assert audio.shape == (2, 2 * SAMPLE_RATE)
    assert found == [SAMPLE_RATE, 2 * SAMPLE_RATE]
    assert not audio[0, SAMPLE_RATE:].any()
