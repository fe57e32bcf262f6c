import re

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE, Converter
from device_app.audio.vad import Segmenter, SegmentSettings, VoiceActivity
from device_app.evaluation.error_rates import english, error_rates
from device_app.paths import RECORDINGS
from device_app.recognition.results import Recognition
from device_app.recognition.stream import MAX_PARTIAL_SHARE, Stream

SAID = "The number you have dialed is not in service. Please check the number and try again."


def updates(stream, audio, block=800):
    found = []
    for start in range(0, len(audio), block):
        found += stream.feed(audio[start : start + block])
    return found


def test_live_speech_gives_partial_texts_and_a_final_one(transcriber, prompt, noise):
    stream = transcriber.stream()
    found = updates(stream, np.concatenate([noise(1.0, -65), prompt, noise(1.5, -65)]))
    finals = [update for update in found if update.is_final]
    partials = [update for update in found if not update.is_final]
    assert error_rates([SAID], [" ".join(u.segment.text for u in finals)], english).wer == 0
    assert len(partials) >= 4
    assert partials[0].segment.end_s < 3.0
    assert finals[0].segment.words[0].start_s == pytest.approx(1.1, abs=0.4)
    assert stream.finish() == []


def test_the_first_syllable_is_kept(transcriber, prompt, noise):
    stream = transcriber.stream(partial_s=0)
    (final, *_) = updates(stream, np.concatenate([noise(2.0, -65), prompt, noise(1.5, -65)]))
    assert re.match(r"The number\b", final.segment.text)


def test_the_final_text_is_that_of_the_whole_segment(transcriber, prompt, noise):
    """What was recognised during the silence is what a recogniser makes of the whole segment."""
    audio = np.concatenate([prompt, noise(1.5, -65)])
    with_partials = [u for u in updates(transcriber.stream(), audio) if u.is_final]
    without = updates(transcriber.stream(partial_s=0), audio)
    in_one_block = transcriber.stream(partial_s=0).feed(audio)
    assert with_partials == without == in_one_block


class CountingRecogniser:
    """Writes whether it recognised a draft, and counts the others."""

    def __init__(self):
        self.whole = 0

    def recognise(self, audio, *, is_draft=False):
        self.whole += not is_draft
        return Recognition("draft" if is_draft else "whole", [])


def counting_stream(partial_s, **settings):
    recogniser = CountingRecogniser()
    segmenter = Segmenter(VoiceActivity(), SegmentSettings(**settings))
    return recogniser, Stream(recogniser, segmenter, Converter(SAMPLE_RATE), partial_s)


def test_the_last_partial_text_has_the_text_of_the_final_one(prompt, noise):
    _, stream = counting_stream(0.5, padding_s=0.3)
    found = updates(stream, np.concatenate([prompt, noise(1.5, -65)]), block=1536)
    end = next(index for index, update in enumerate(found) if update.is_final)
    texts = [(update.segment.text, update.is_final) for update in found[:end]]
    assert texts[-2:] == [("draft", False), ("whole", False)]


@pytest.mark.parametrize("partial_s", [0.0, 0.5])
def test_without_padding_a_segment_is_recognised_in_pauses_only(prompt, noise, partial_s):
    """Regression: at a padding of 0, each block of speech was recognised as if it were a whole segment."""
    audio = np.concatenate([prompt, noise(1.5, -65)])
    recogniser, stream = counting_stream(partial_s, padding_s=0.0)
    found = updates(stream, audio, block=1536)
    assert recogniser.whole <= len(audio) / SAMPLE_RATE  # 10 blocks a second
    assert {update.segment.text for update in found if update.is_final} == {"whole"}
    partials = [update for update in found if not update.is_final]
    assert bool(partials) == bool(partial_s)


@pytest.mark.parametrize("silence_s", [0.3, 0.5, 1.0])
def test_partial_texts_are_drafts_and_the_final_one_is_not(prompt, noise, silence_s):
    _, stream = counting_stream(0.1, silence_s=silence_s)
    found = updates(stream, np.concatenate([prompt, noise(1.5, -65)]), block=512)
    texts = {is_final: {u.segment.text for u in found if u.is_final == is_final} for is_final in (True, False)}
    assert texts[True] == {"whole"}
    assert "draft" in texts[False]


def test_a_stream_that_stops_in_mid_speech_gives_its_text(transcriber, prompt):
    stream = transcriber.stream(partial_s=0)
    assert updates(stream, prompt[: 2 * SAMPLE_RATE]) == []
    (final,) = stream.finish()
    assert final.is_final
    assert final.segment.text.startswith("The number you have")


def test_more_patience_joins_segments(transcriber, prompt, noise):
    audio = np.concatenate([prompt, noise(0.8, -65), prompt, noise(3, -65)])
    counts = {
        silence_s: sum(
            u.is_final
            for u in updates(transcriber.stream(partial_s=0, settings=SegmentSettings(silence_s=silence_s)), audio)
        )
        for silence_s in (0.3, 2.0)
    }
    assert counts[2.0] == 1
    assert counts[0.3] >= 2


def test_live_audio_of_another_rate(transcriber, noise):
    audio, sample_rate = soundfile.read(RECORDINGS / "ss-noservice.flac", dtype="float32")
    stream = transcriber.stream(sample_rate, partial_s=0)
    found = [*updates(stream, audio, block=400), *stream.finish()]
    assert error_rates([SAID], [" ".join(u.segment.text for u in found)], english).wer == 0


def test_a_slow_machine_is_not_asked_for_more_partials_than_it_can_give(transcriber, prompt):
    """With recognition that takes 2 s, partial texts come at most every 4 s of audio."""
    stream = transcriber.stream()
    stream._draft_cost_s = 2.0
    current = None
    for start in range(0, len(prompt), 800):
        list(stream._segmenter.feed(prompt[start : start + 800]))
        current = stream._segmenter.current()
        if current is not None and stream._is_due(current):
            break
    assert current is not None
    assert current.end_s - current.start_s >= 2.0 / MAX_PARTIAL_SHARE - 0.3
