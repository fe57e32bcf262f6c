import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from device_app.audio.samples import (
    SAMPLE_RATE,
    Converter,
    as_mono,
    duration_s,
    encode,
    level_dbfs,
    read,
    read_blocks,
    to_model_rate,
)
from editing.errors import BadAudioError, InvalidSamplesError
from tests.conftest import write_audio


def tone(seconds, sample_rate, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_any_rate_and_channel_count_becomes_16_khz_mono(tmp_path, sample_rate, channels):
    audio = np.repeat(tone(1.0, sample_rate)[:, None], channels, axis=1)
    found = read(write_audio(tmp_path / "tone.wav", audio, sample_rate))
    assert found.dtype == np.float32
    assert abs(len(found) - SAMPLE_RATE) <= 2
    inner = slice(1600, -1600)
    expected = tone(1.0, SAMPLE_RATE)[: len(found)]
    np.testing.assert_allclose(found[inner], expected[: len(found)][inner], atol=2e-3)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("wav", {}),
        ("flac", {}),
        ("ogg", {}),
        ("mp3", {}),
        ("ogg", {"format": "OGG", "subtype": "OPUS"}),
        ("aiff", {}),
    ],
)
def test_every_format_keeps_the_sound(tmp_path, suffix, options):
    path = write_audio(tmp_path / f"tone.{suffix}", tone(2.0, 48000), 48000, **options)
    found = read(path)
    assert duration_s(path) == pytest.approx(2.0, abs=0.1)
    assert len(found) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(found[:SAMPLE_RATE]))
    assert spectrum.argmax() == 440


def test_blocks_are_the_whole_recording(tmp_path):
    path = write_audio(tmp_path / "tone.wav", tone(3.3, 44100), 44100)
    whole = to_model_rate(soundfile.read(path, dtype="float32")[0], 44100)
    np.testing.assert_allclose(np.concatenate(list(read_blocks(path, "tone", block_s=0.17))), whole, atol=1e-6)


def test_a_stream_is_read_as_a_file(tmp_path):
    path = write_audio(tmp_path / "tone.flac", tone(1.0, 16000))
    streamed = np.concatenate(list(read_blocks(io.BytesIO(path.read_bytes()), "standard input")))
    np.testing.assert_array_equal(streamed, read(path))


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_integers_are_scaled_to_full_scale(kind):
    limits = np.iinfo(kind)
    np.testing.assert_allclose(as_mono(np.array([limits.min, 0, limits.max], kind)), [-1, 0, 1], atol=1e-4)


@given(st.integers(1, 5), st.integers(1, 400))
def test_channels_are_averaged(channels, samples):
    rng = np.random.default_rng(0)
    audio = rng.uniform(-0.5, 0.5, (samples, 1)) + rng.uniform(-0.1, 0.1, (samples, channels))
    np.testing.assert_allclose(as_mono(audio), audio.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("gain", [1.0, 0.8, 1.25, 0.7])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_channels_that_cancel_out_are_not_averaged(gain, rate):
    """Right = -left, exactly or nearly: a microphone cable or an adapter with swapped wires."""
    left = tone(3.0, rate)
    found = to_model_rate(np.stack([left, -gain * left], axis=1), rate)
    expected = to_model_rate(left, rate)
    assert np.abs(found).max() >= 0.9 * np.abs(expected).max()
    assert abs(len(found) - len(expected)) <= 1


def test_a_part_of_a_recording_may_be_in_opposite_phase():
    left = tone(6.0, 16000)
    right = left.copy()
    right[32000:64000] *= -1
    np.testing.assert_allclose(to_model_rate(np.stack([left, right], axis=1), 16000), left, atol=1e-6)


@pytest.mark.parametrize("offset", [0.1, -0.5])
def test_a_constant_offset_does_not_hide_that_channels_cancel_out(offset):
    left = tone(3.0, 16000)
    np.testing.assert_allclose(to_model_rate(np.stack([left, offset - left], axis=1), 16000), left, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_phase_may_change_within_a_block(rate):
    """As where two recordings were joined: the half second until the next block would be silent."""
    left = tone(3.0, rate)
    right = left.copy()
    right[rate * 3 // 2 :] *= -1
    found = to_model_rate(np.stack([left, right], axis=1), rate)
    expected = to_model_rate(left, rate)
    is_other = np.abs(found - expected) > 0.1 * np.abs(expected).max()
    assert is_other.sum() <= 0.06 * SAMPLE_RATE


def test_one_channel_of_many_in_use_is_not_made_quieter():
    audio = np.zeros((16000, 32), np.float32)
    audio[:, 5] = tone(1.0, 16000)
    np.testing.assert_allclose(as_mono(audio), audio[:, 5])


def test_two_speakers_on_two_channels_are_both_kept():
    audio = np.zeros((32000, 2), np.float32)
    audio[:16000, 0], audio[16000:, 1] = tone(1.0, 16000), tone(1.0, 16000)
    np.testing.assert_allclose(to_model_rate(audio, 16000), audio.mean(axis=1))


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.array([0.0, np.nan]), "NaN"),
        (np.array([0.0, -np.inf]), "NaN or infinite"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (np.array(["a"]), "expected floats"),
        (np.zeros(4, np.uint8), r"type uint8.*unsigned samples with \(samples - 128.0\) / 128"),
        (np.zeros(4, np.int64), "type int64.*16-bit samples of another type"),
        (np.zeros(4, bool), "int16 or int32$"),
    ],
)
def test_samples_that_are_not_audio_are_refused(audio, message):
    with pytest.raises(BadAudioError, match=message):
        as_mono(audio)


def test_the_order_of_bytes_makes_no_difference():
    samples = np.array([0, 16384, -32768])
    for kind in (">i2", "<i2"):
        np.testing.assert_array_equal(as_mono(samples.astype(kind)), np.float32([0, 0.5, -1]))


@pytest.mark.parametrize("sample_rate", [0, -1, 10, 2e9, float("nan")])
def test_a_rate_that_no_audio_has_is_refused(sample_rate):
    with pytest.raises(BadAudioError, match="sampling rate"):
        Converter(sample_rate)


@pytest.mark.parametrize(("seconds", "message"), [(0.0, "contains no audio"), (0.05, "too short")])
def test_too_little_audio_is_refused(seconds, message):
    with pytest.raises(BadAudioError, match=message):
        to_model_rate(np.zeros(round(seconds * 48000)), 48000)


def test_level_is_decibels_below_full_scale():
    assert level_dbfs(np.ones(10, np.float32)) == 0
    assert level_dbfs(np.full(10, 0.1, np.float32)) == pytest.approx(-20, abs=1e-5)
    assert level_dbfs(np.zeros(10, np.float32)) == -np.inf


def test_encoding_is_deterministic():
    audio = np.random.default_rng(0).uniform(-1, 1, 16000).astype(np.float32)
    assert encode(audio) == encode(audio)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", ["WAV", "AIFF", "CAF", "W64", "AU"])
def test_a_few_samples_that_are_no_numbers_are_read_as_zero(tmp_path, value, channels, form):
    audio = np.repeat(tone(1.0, SAMPLE_RATE)[:, None], channels, axis=1)
    audio[[100, 9000]] = 0
    expected = audio[:, 0].copy()
    audio[100], audio[9000, 0] = value, value
    path = write_audio(tmp_path / "x", audio, format=form, subtype="FLOAT")
    blocks = []
    with pytest.raises(InvalidSamplesError) as error:
        blocks.extend(read_blocks(path, "x", 0.3))
    assert str(error.value) == (
        f"x: {channels + 1} of {len(audio) * channels:,} samples are no numbers (NaN or infinite) and were read as 0"
    )
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-6)
    messages = []
    np.testing.assert_allclose(read(path, messages.append), expected, atol=1e-6)
    assert messages == [str(error.value).replace("x:", f"{path}:", 1)]


@pytest.mark.parametrize(("count", "share"), [(161, "1%"), (8000, "50%"), (16000, "100%")])
def test_more_than_one_percent_of_them_are_refused(tmp_path, count, share):
    audio = tone(1.0, SAMPLE_RATE)
    audio[:count] = np.nan
    path = write_audio(tmp_path / "x.wav", audio, subtype="FLOAT")
    with pytest.raises(
        BadAudioError, match=rf"x\.wav: {share} of the samples are not numbers \(NaN or infinite\)"
    ) as error:
        read(path)
    assert not isinstance(error.value, InvalidSamplesError)
