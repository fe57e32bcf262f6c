"""Parts of recordings: the same samples as in the whole recording, whatever its header says."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from device_app.audio.samples import SAMPLE_RATE, read
from device_app.data import cuts
from device_app.data.cuts import CutReader, fit, read_cut
from editing.errors import BadAudioError, BadInputError
from tests.conftest import write_audio

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


@pytest.fixture
def ogg(tmp_path):
    """A recording of 20 s in a format in which seeking is not exact."""
    return write_audio(tmp_path / "x.ogg", noise(20), SECOND)


@pytest.fixture
def keeps_2_s(monkeypatch):
    monkeypatch.setattr(cuts, "KEPT_S", 2)


def outcome(read_part, path, start, end):
    """The samples, error and messages of a part."""
    messages = []
    try:
        return read_part(path, start, end, messages.append).tobytes(), messages
    except BadAudioError as error:
        return type(error), str(error), messages


def assert_same_as_alone(jobs):
    """Reading parts with one reader, in one thread and in several, gives what reading each alone does."""
    expected = [outcome(read_cut, *job) for job in jobs]
    with CutReader() as reader:
        assert [outcome(reader.read, *job) for job in jobs] == expected
    with CutReader() as reader, ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda job: outcome(reader.read, *job), jobs)) == expected


SECONDS = {
    "in order": [(0, 2), (2, 3), (5, 6.5), (19, None)],
    "overlapping": [(1, 4), (2, 3), (2, 3), (3.5, 6), (4.5, 5)],
    "not at the end of the header": [(15, 19.9), (19, 20.1)],
}


@pytest.mark.parametrize("parts", SECONDS.values(), ids=SECONDS)
def test_parts_in_order_decode_the_recording_once(ogg, decodings, keeps_2_s, parts):
    jobs = [(ogg, int(start * SECOND), None if end is None else int(end * SECOND)) for start, end in parts]
    with CutReader() as reader:
        for job in jobs:
            reader.read(*job)
    assert decodings == [ogg]
    assert_same_as_alone(jobs)


def test_a_part_before_what_is_kept_decodes_the_recording_again(ogg, decodings, keeps_2_s):
    jobs = [(ogg, start * SECOND, (start + 1) * SECOND) for start in (10, 9, 3, 4, 11)]
    with CutReader() as reader:
        for job in jobs:
            reader.read(*job)
    assert decodings == [ogg, ogg]  # the part at 11 s continues after that at 10 s
    assert_same_as_alone(jobs)


def test_recordings_whose_parts_alternate_are_decoded_once(tmp_path, decodings):
    paths = [write_audio(tmp_path / f"{index}.ogg", noise(5, index), SECOND) for index in range(cuts.MAX_STREAMS)]
    jobs = [(path, start * SECOND, (start + 1) * SECOND) for start in range(5) for path in paths]
    with CutReader() as reader:
        for job in jobs:
            reader.read(*job)
    assert decodings == paths
    assert_same_as_alone(jobs)


def test_memory_does_not_hold_the_recording(tmp_path, keeps_2_s):
    path = write_audio(tmp_path / "x.ogg", noise(90), SECOND)
    with CutReader() as reader:
        reader.read(path, 0, SECOND)
        tracemalloc.start()
        try:
            for start in range(1, 89):
                reader.read(path, start * SECOND, (start + 1) * SECOND)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 10 * SECOND * 4  # bytes: 10 s of float32


@pytest.mark.parametrize("name", ["x.ogg", "x.flac", "x.wav"])
def test_each_part_of_a_damaged_recording_has_its_error_after_one_decoding(tmp_path, decodings, name):
    path = write_audio(tmp_path / name, noise(20), SECOND)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    jobs = [(path, start * SECOND, (start + 2) * SECOND) for start in range(0, 22, 2)]
    with CutReader() as reader:
        found = [outcome(reader.read, *job) for job in jobs]
    assert len(decodings) == 1
    assert isinstance(found[0][0], bytes)
    assert ": damaged " in found[-1][1]
    assert_same_as_alone(jobs)


@pytest.mark.parametrize(("invalid", "is_refused"), [(3, False), (5000, True)])
def test_invalid_samples_are_counted_up_to_the_end_of_the_part(tmp_path, invalid, is_refused):
    audio = noise(20)
    audio[10 * SECOND : 10 * SECOND + invalid] = np.nan
    path = write_audio(tmp_path / "x.wav", audio, SECOND, subtype="FLOAT")
    path.write_bytes(path.read_bytes()[:-SECOND])  # so that it is not read by seeking
    jobs = [(path, start * SECOND, (start + 2) * SECOND) for start in (0, 4, 9, 17, 10, 8, 2)]
    with CutReader() as reader:
        found = [outcome(reader.read, *job) for job in jobs]
    assert "3 of 176,000 samples" in str(found[2]) or is_refused
    assert ["not numbers" in str(one) for one in found] == [is_refused and job[2] > 10 * SECOND for job in jobs]
    assert_same_as_alone(jobs)


def test_the_length_of_a_recording_is_read_once(tmp_path, monkeypatch):
    read_lengths = []
    monkeypatch.setattr(cuts, "duration_s", lambda path: read_lengths.append(path) or 20.0)
    path = write_audio(tmp_path / "x.flac", noise(20), SECOND)
    with CutReader() as reader:
        for start in range(20):
            assert reader.duration_s(path) == 20.0
            reader.read(path, start * SECOND, (start + 1) * SECOND)
    assert read_lengths == [path]


def test_parts_of_a_damaged_mp3_file_bring_no_messages_of_the_decoder(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(4), SECOND, format="MP3")
    path.write_bytes(path.read_bytes()[:-4000])
    soundfile.info(path)
    assert "Xing stream size" in capfd.readouterr().err  # it does print something about this file
    read_cut(path, SECOND, 2 * SECOND)
    assert capfd.readouterr().err == ""
