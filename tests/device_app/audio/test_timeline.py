"""Where samples belong by their timestamps, and the line that says what is missing."""

import numpy as np
import pytest

from device_app.audio.timeline import MAX_GAP_S, MAX_SILENCE_S, Timeline

RATE = 1000
SECOND = np.ones((RATE, 1), np.float32)


def feed(timeline, start_s, samples=SECOND, *, is_pause=True):
    """The blocks of one second of samples with a timestamp."""
    return [block for block, _ in timeline.blocks(samples, RATE, timeline.gap_s(start_s), is_pause=is_pause)]


def test_samples_that_follow_one_another_have_no_silence_between_them():
    timeline = Timeline()
    for start in (7.0, 8.001, 8.999, None, 11.05):
        assert [len(block) for block in feed(timeline, start)] == [RATE]
    assert timeline.fault is None


def test_a_gap_is_silence_of_its_length():
    timeline = Timeline()
    feed(timeline, 7.0)
    silence, samples = feed(timeline, 8.5)
    assert len(silence) == 500
    assert not silence.any()
    assert samples.all()
    assert timeline.position_s == 2.5
    assert timeline.fault is None


def test_a_gap_that_a_format_cannot_have_is_reported():
    timeline = Timeline()
    feed(timeline, 0.0)
    feed(timeline, 3.0, is_pause=False)
    assert timeline.fault == "damaged or cut off at 1.0 s: 2.0 s of 4.0 s could be read (samples are missing)"


def test_damage_at_the_beginning_is_silence_too():
    timeline = Timeline()
    timeline.note_error("bad packet", 7.0)
    assert len(np.concatenate(feed(timeline, 8.0))) == 2 * RATE
    assert timeline.fault == "damaged or cut off at 0.0 s: 1.0 s of 2.0 s could be read (bad packet)"


@pytest.mark.parametrize("jump_s", [-5.0, MAX_GAP_S + 10, 95443.7])
def test_after_a_jump_of_the_timestamps_times_go_on(jump_s):
    """As in joined files, and where the clock of a transport stream starts again."""
    timeline = Timeline()
    feed(timeline, 10.0)
    assert len(feed(timeline, 11.0 + jump_s)) == 1
    assert len(feed(timeline, 12.0 + jump_s)) == 1
    assert timeline.position_s == 3.0
    timeline.finish(3.0 + max(jump_s, 0.0))
    assert timeline.fault is None


def test_a_small_file_cannot_claim_endless_silence():
    timeline = Timeline()
    total = 0.0
    for start in range(0, 1_000_000, 500):
        total += timeline.gap_s(float(start))
        timeline.position_s += timeline.gap_s(float(start))
    assert total <= MAX_SILENCE_S


def test_a_file_shorter_than_its_header_says_is_cut_off():
    timeline = Timeline()
    feed(timeline, 0.0)
    timeline.finish(9.0)
    assert timeline.fault == "damaged or cut off: 1.0 s of 9.0 s could be read (its end is missing)"


def test_a_header_that_counts_from_zero_fits_timestamps_that_begin_late():
    timeline = Timeline()
    feed(timeline, 8.0)
    timeline.finish(9.0)
    assert timeline.fault is None


def test_many_places_are_counted():
    timeline = Timeline()
    for start in range(9):
        timeline.note_error("bad packet")
        timeline.note_error("bad packet")
        feed(timeline, float(start))
    assert timeline.fault == (
        "damaged or cut off in 9 places, the first at 0.0 s, the last at 8.0 s: 9.0 s could be read (bad packet)"
    )


@pytest.mark.parametrize("value", [1e5, np.nan, np.inf])
def test_what_a_decoder_makes_of_damage_is_silence(value):
    """Regression: AAC decoded to samples of 107005, and the whole file was refused."""
    timeline = Timeline()
    (block,) = feed(timeline, 0.0, np.full((RATE, 1), value, np.float32))
    assert not block.any()
    assert "some samples are far above full scale" in timeline.fault
