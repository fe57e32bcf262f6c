"""MP3 files with junk between their frames, or with an Info header that promises what is not there."""

import io

import numpy as np
import pytest

from device_app.audio.containers import mpeg
from device_app.audio.decoding import decoded, duration_s
from editing.errors import BadAudioError
from tests.device_app.audio.speech import encoded, speech

AUDIO, RATE = speech()
WINDOW = mpeg.CHUNK - 4 * mpeg.MAX_FRAME  # bytes in which the next frame is searched before more are read


def mp3(seconds):
    return encoded(np.resize(AUDIO, round(seconds * RATE)), RATE, "MP3", "MPEG_LAYER_III")


def with_delays(data, delays):
    """With other delays of the encoder in its Info header, as 3 bytes."""
    at = data.index(b"LAME") + 21
    return data[:at] + delays + data[at + 3 :]


def samples(data, size=None):
    """Per channel, of all parts; `size` is that of the file before it was cut off."""
    return sum(part.samples for part in mpeg.parts(io.BytesIO(data), size or len(data)))


@pytest.fixture
def steps(monkeypatch):
    """How often the reader stepped over junk. Fails, instead of running for ever, where that leads nowhere."""
    found = []
    after_junk = mpeg._after_junk

    def checked(file, data, at, position, size):
        after = after_junk(file, data, at, position, size)
        assert after > position
        found.append(position)
        # A limit is needed too: the loop must not go on without this function.
        assert len(found) < 10
        return after

    monkeypatch.setattr(mpeg, "_after_junk", checked)
    return found


@pytest.mark.parametrize("size", [100, WINDOW, WINDOW + 1, mpeg.CHUNK, 3 << 20])
def test_junk_of_any_length_between_two_files_is_stepped_over(size, steps):
    first, second = mp3(2), mp3(1)
    assert samples(first + bytes(size) + second) == samples(first) + samples(second)
    assert steps


def test_junk_at_the_place_where_more_is_read_is_stepped_over(steps):
    """64 bytes of it in a file of 2.3 MB, as a transfer damages it, stopped the reader."""
    one = mp3(4)
    data = one * (2_300_000 // len(one))
    starts = [position for position, *_ in mpeg._frames(io.BytesIO(data), 0, len(data))]
    at = max(start for start in starts if start < WINDOW)
    assert samples(data[:at] + bytes(1000) + data[at:]) == samples(data)
    assert steps


@pytest.mark.parametrize("left", [mpeg.MAX_FRAME, 5 * mpeg.MAX_FRAME])
def test_a_file_that_shrinks_while_it_is_read_ends(left, steps):
    first = mp3(2)
    assert samples(first + bytes(left), size=10 * mpeg.CHUNK) == samples(first)


def test_delays_in_the_info_header_that_are_more_than_the_file_has_are_ignored(tmp_path):
    data = with_delays(mp3(0.25), b"\xff\xff\xff")
    whole = samples(with_delays(mp3(0.25), bytes(3)))
    assert samples(data) == whole
    assert sum(len(block) for block, _ in decoded(io.BytesIO(data), "x", 1.0)) == whole
    (tmp_path / "x.mp3").write_bytes(data)
    assert duration_s(tmp_path / "x.mp3") == whole / RATE


def without_info(data):
    """The frames that have sound: as a recorder writes them that does not go back to the start of the file."""
    (start, _, frame, _), *_ = mpeg._frames(io.BytesIO(data), 0, len(data))
    return data[start + frame.length :]


def test_a_hole_in_a_stream_without_a_count_of_frames_is_reported(tmp_path):
    """Half a second of it became silence without a message: its words were lost."""
    data = without_info(mp3(4))
    hole = len(data) // 8
    damaged = data[: 3 * hole] + bytes(hole) + data[4 * hole :]
    with pytest.raises(BadAudioError, match=r"damaged or cut off: 3\.\d s of [34]\.\d s could be read"):
        list(decoded(io.BytesIO(damaged), "x", 60.0))


@pytest.mark.parametrize("gap", [b"StreamTitle='One - Two';".ljust(48, b"\0"), b"TAG" + bytes(125)])
def test_short_metadata_or_a_tag_within_a_stream_is_no_hole(gap):
    data = without_info(mp3(2))
    frames = list(mpeg._frames(io.BytesIO(data), 0, len(data)))
    middle = frames[len(frames) // 2][0]
    (part,) = mpeg.parts(io.BytesIO(data[:middle] + gap + data[middle:]), len(data) + len(gap))
    assert part.declared is None
