"""Parts of recordings: the same samples as in the whole recording, whatever its header says."""

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data.cuts import fit, read_cut
from editing.errors import BadAudioError, BadInputError

SECOND = SAMPLE_RATE


def noise(seconds, seed=0):
    return np.random.default_rng(seed).uniform(-0.3, 0.3, seconds * SECOND).astype(np.float32)


@pytest.fixture
def joined(tmp_path):
    """Two FLAC files of 2 s in one; the header promises 2 s."""
    for seed in range(2):
        soundfile.write(tmp_path / f"{seed}.flac", noise(2, seed), SECOND)
    path = tmp_path / "joined.flac"
    path.write_bytes((tmp_path / "0.flac").read_bytes() + (tmp_path / "1.flac").read_bytes())
    return path


@pytest.fixture
def unfinished(tmp_path):
    """A WAV file of 4 s whose header promises 1 s."""
    path = tmp_path / "unfinished.wav"
    soundfile.write(path, noise(4), SECOND, "PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = (2 * SECOND).to_bytes(4, "little")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["joined", "unfinished"])
@pytest.mark.parametrize(("start", "end"), [(0.5, None), (0.5, 1.5), (1.5, 3.0), (3.0, 4.0)])
def test_a_part_beyond_the_length_in_the_header_is_read(name, start, end, request):
    path = request.getfixturevalue(name)
    first, last = int(start * SECOND), None if end is None else int(end * SECOND)
    expected = read(path)
    assert len(expected) == 4 * SECOND
    np.testing.assert_allclose(read_cut(path, first, last), expected[first:last], atol=1e-6)


def test_a_part_that_is_too_short_says_how_long_it_must_be(joined):
    with pytest.raises(BadAudioError, match=r"the part from 1\.000 s has 0\.050 s of audio; at least 0\.1 s are"):
        read_cut(joined, SECOND, SECOND + SECOND // 20)


def test_a_part_that_the_recording_does_not_have_says_what_is_there(joined):
    with pytest.raises(BadAudioError, match=r"has 1\.000 s of audio after 3\.000 s; expected 2\.000 s"):
        read_cut(joined, 3 * SECOND, 5 * SECOND)


@pytest.mark.parametrize("is_cut_off", [False, True])  # the second is not read by seeking
def test_a_sample_that_is_no_number_is_reported_where_it_is_in_the_part(tmp_path, is_cut_off):
    audio = noise(4)
    audio[3 * SECOND] = np.nan
    path = tmp_path / "x.wav"
    soundfile.write(path, audio, SECOND, "FLOAT")
    if is_cut_off:
        path.write_bytes(path.read_bytes()[:-SECOND])
    messages = []
    np.testing.assert_allclose(read_cut(path, SECOND, 2 * SECOND, messages.append), audio[SECOND : 2 * SECOND])
    assert messages == []
    found = read_cut(path, 5 * SECOND // 2, 7 * SECOND // 2, messages.append)
    assert found[SECOND // 2] == 0
    assert len(messages) == 1
    assert "1 of " in messages[0]
    assert "is no number (NaN or infinite) and was read as 0" in messages[0]


@pytest.mark.parametrize("length_s", [0, 4.0])
@pytest.mark.parametrize("length", [0, 1, SECOND // 10 - 1])
def test_a_part_that_is_too_short_is_refused_before_reading(length, length_s):
    with pytest.raises(BadInputError, match=r"from 1\.000 s is 0\.\d{3} s long; at least 0\.1 s are needed"):
        fit(SECOND, SECOND + length, length_s)
