"""Damage within FLAC streams: what is intact is read, at its time, with work in proportion to the file."""

import io
import os
import re

import numpy as np
import pytest

from device_app.audio.containers import flac
from device_app.audio.decoding import decoded, duration_s
from device_app.audio.samples import SAMPLE_RATE
from editing.errors import BadAudioError, IncompleteAudioError
from tests.device_app.audio.speech import encoded

BLOCK = 1152  # samples per channel in a frame of libFLAC at its lowest level of compression


def noise(frames, channels=1):
    """Quiet noise, (samples, channels), which makes small frames."""
    shape = (frames * BLOCK, channels)
    return np.random.default_rng(frames).integers(-2, 3, shape).astype(np.float32) / 32768


def made(audio):
    return bytearray(encoded(audio, SAMPLE_RATE, "FLAC", "PCM_16", compression_level=0.0))


def frame_starts(data):
    """Offsets of the frames of a stream that `made` returned."""
    found = []
    for match in re.finditer(rb"\xff\xf8", data):
        if flac._coded_number(data, match.start() + 4)[0] == len(found):
            found.append(match.start())
    return found


def read(file, block_s=0.5):
    """The samples, (samples, channels), and the message of what is missing."""
    blocks, message = [], None
    try:
        for block, _ in decoded(file, "x", block_s):
            blocks.append(block)
    except IncompleteAudioError as error:
        message = str(error)
    return np.concatenate(blocks), message


def with_silence(audio, frames):
    """The audio with zeros instead of these frames."""
    expected = audio.reshape(-1, BLOCK * audio.shape[1]).copy()
    expected[frames] = 0
    return expected.reshape(audio.shape)


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


def test_hundreds_of_damaged_places_cost_their_frames_without_recursion():
    audio = noise(1201)
    data = made(audio)
    damaged = frame_starts(data)[1::2]
    assert len(damaged) == 600
    for start in damaged:
        data[start + 100] ^= 0x55
    file = Counting(data)
    found, message = read(file)
    assert message.startswith("x: damaged after 0.1 s (")
    np.testing.assert_array_equal(found, with_silence(audio, slice(1, None, 2)))
    # One piece to search, and what two decoders read ahead, for each damaged place.
    assert file.count < 2 * len(data) + 2 * flac.CHUNK * len(damaged)


# The bytes of a frame header; RFC 9639, section 9.1.


def coded(number):
    """As UTF-8 codes a character, which Python does for small numbers."""
    return chr(number).encode()


def header(number, *, sync=0xFFF8, sizes=0x35, channels=0x08, rest=b""):
    """A frame header with the correct checksum.

    Args:
        number: of the frame, or its code as bytes.
        sync: 0xFFF9 is that of a stream of variable block size.
        sizes: the codes of 1152 samples and of 16 kHz.
        channels: the codes of one channel and of 16 bits, as `made` writes them.
        rest: fields for a block size and a rate without a code.
    """
    number = number if isinstance(number, bytes) else coded(number)
    data = sync.to_bytes(2, "big") + bytes([sizes, channels]) + number + rest
    return data + bytes([flac._crc8(data)])


def test_the_header_of_these_tests_is_that_of_the_encoder():
    data = made(noise(300))
    starts = frame_starts(data)
    assert len(starts) == 300
    for number in (0, 1, 127, 128, 299):
        expected = header(number)
        assert data[starts[number] : starts[number] + len(expected)] == expected


FALSE = {
    "reserved block size": header(25, sizes=0x05),
    "larger block size": header(25, sizes=0xC5),
    "larger block size in a field": header(25, sizes=0x75, rest=b"\x10\x00"),
    "other rate": header(25, sizes=0x34),
    "other rate in a field": header(25, sizes=0x3D, rest=(8000).to_bytes(2, "big")),
    "invalid rate": header(25, sizes=0x3F),
    "reserved channels": header(25, channels=0xB8),
    "other channels": header(25, channels=0x18),
    "stereo": header(25, channels=0x88),
    "reserved sample size": header(25, channels=0x06),
    "other sample size": header(25, channels=0x0C),
    "reserved bit": header(25, channels=0x09),
    "variable block size": header(25 * BLOCK, sync=0xFFF9),
    "number that begins with a continuation": header(b"\x99"),
    "number of eight bytes": header(b"\xff" + b"\x80" * 5 + b"\x99"),
    "number with an invalid continuation": header(b"\xc2\x19"),
    "behind the end": header(5000),
    "wrong checksum": header(25)[:-1] + bytes([header(25)[-1] ^ 1]),
}


@pytest.mark.parametrize("false", FALSE.values(), ids=FALSE)
def test_bytes_in_a_damaged_frame_that_look_like_a_header_move_nothing(false):
    audio = noise(30)
    data = made(audio)
    start = frame_starts(data)[10]
    data[start + 100 : start + 100 + len(false)] = false
    found, message = read(io.BytesIO(data))
    assert "damaged after 0.7 s" in message
    np.testing.assert_array_equal(found, with_silence(audio, 10))


TRUE = {
    "as the encoder writes it": header(25),
    "rate and sample size of the stream": header(25, sizes=0x30, channels=0x00),
    "rate in a field, kHz": header(25, sizes=0x3C, rest=b"\x10"),
    "rate in a field, Hz": header(25, sizes=0x3D, rest=(16000).to_bytes(2, "big")),
    "rate in a field, 10 Hz": header(25, sizes=0x3E, rest=(1600).to_bytes(2, "big")),
    "block size in a field": header(25, sizes=0x75, rest=(BLOCK - 1).to_bytes(2, "big")),
    "last and shorter": header(25, sizes=0x65, rest=b"\x13"),
}


@pytest.mark.parametrize("true", TRUE.values(), ids=TRUE)
def test_every_way_to_write_a_header_of_the_stream_is_known(true):
    info = flac._stream_info(bytes(made(noise(1))))
    assert flac._first_sample(true, info) == 25 * BLOCK


@pytest.mark.parametrize("number", [0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF])
def test_numbers_are_coded_as_utf_8(number):
    assert flac._coded_number(b"\xff" + coded(number) + b"\xff", 1) == (number, 1 + len(coded(number)))


def test_the_longest_number_has_36_bits():
    assert flac._coded_number(b"\xfe" + b"\xbf" * 6, 0) == ((1 << 36) - 1, 7)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("damaged", [0, 10, 28])
def test_damage_in_any_frame_costs_this_frame(channels, damaged):
    audio = noise(30, channels)
    data = made(audio)
    data[frame_starts(data)[damaged] + 100] ^= 0x55
    found, message = read(io.BytesIO(data))
    assert "damaged after" in message
    np.testing.assert_array_equal(found, with_silence(audio, damaged))


@pytest.mark.parametrize("junk", [bytes(4096), b"APETAGEX" + bytes(60), b"TAG" + bytes(125)])
def test_what_follows_the_audio_of_a_damaged_stream_adds_nothing(junk):
    audio = noise(30)
    data = made(audio)
    data[frame_starts(data)[10] + 100] ^= 0x55
    found, _ = read(io.BytesIO(data + junk))
    np.testing.assert_array_equal(found, with_silence(audio, 10))


# Bytes of the header of the first stream; without them libsndfile cannot open it.
DAMAGE = {"length of STREAMINFO": (7, b"\x23"), "type of the block": (4, b"\x7f"), "sampling rate": (18, bytes(3))}


@pytest.mark.parametrize(("at", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_header_of_the_first_of_joined_streams_leaves_the_second(at, damage, tmp_path):
    first, second = noise(30), noise(20)
    data = made(first)
    data[at : at + len(damage)] = damage
    data += made(second)
    found, message = read(io.BytesIO(data))
    assert message.startswith("x: damaged after 0.0 s (")
    np.testing.assert_array_equal(found, second)
    (tmp_path / "x.flac").write_bytes(data)
    assert duration_s(tmp_path / "x.flac") == len(second) / SAMPLE_RATE


def test_damaged_headers_of_all_joined_streams_leave_nothing(monkeypatch):
    monkeypatch.setattr("device_app.audio.media.is_available", lambda: False)
    data = made(noise(3))
    data[18:21] = bytes(3)
    with pytest.raises(BadAudioError, match="x: not audio that can be read"):
        list(decoded(io.BytesIO(data * 2), "x", 1.0))


# Reads that fail


class Failing(io.BytesIO):
    """A file of which a part cannot be read, as on a damaged disk."""

    def __init__(self, data, start, end):
        super().__init__(data)
        self._range = range(start, end)

    def read(self, size=-1):
        if self.tell() in self._range:
            raise OSError(5, os.strerror(5))
        if self.tell() < self._range.start:
            most = self._range.start - self.tell()
            size = most if size < 0 else min(size, most)
        return super().read(size)


def test_all_samples_before_a_read_that_fails_are_given():
    audio = noise(30)
    data = encoded(audio, SAMPLE_RATE, "WAV", "PCM_16")
    found, message = read(Failing(data, 44 + 2 * 20_001, len(data)))
    assert message == "x: damaged after 1.3 s (Input/output error)"
    np.testing.assert_array_equal(found, audio[:20_001])


def test_all_frames_before_a_read_that_fails_are_given():
    audio = noise(30)
    data = bytes(made(audio))
    found, message = read(Failing(data, frame_starts(data)[17] + 5, len(data)))
    assert message.endswith("(Input/output error)")
    assert len(found) == 17 * BLOCK
    np.testing.assert_array_equal(found, audio[: len(found)])


def test_what_follows_a_part_that_cannot_be_read_keeps_its_time():
    audio = noise(400)
    data = bytes(made(audio))
    start = frame_starts(data)[17]
    found, message = read(Failing(data, start + 5, start + 500))
    assert "Input/output error" in message
    np.testing.assert_array_equal(found[: 17 * BLOCK], audio[: 17 * BLOCK])
    assert len(found) == len(audio)
    np.testing.assert_array_equal(found[200 * BLOCK :], audio[200 * BLOCK :])


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("start", [0, 2, 30])
def test_a_file_of_which_nothing_can_be_read_says_why(form, start):
    file = Failing(encoded(noise(30), SAMPLE_RATE, form), start, 1 << 30)
    with pytest.raises(BadAudioError, match=r"^x: (damaged .*)?\(?Input/output error\)?"):
        list(decoded(file, "x", 1.0))


def test_a_tail_that_looks_like_thousands_of_frames_is_searched_once(monkeypatch):
    """Each place that looked like a frame cost a checksum up to the end: 11 minutes for 128 kB."""
    data = made(noise(4))
    data[flac.TOTAL_SAMPLES_AT] &= 0xF0
    data[flac.TOTAL_SAMPLES_AT + 1 : flac.TOTAL_SAMPLES_AT + 5] = bytes(4)
    searched = []
    candidates = flac._frame_candidates
    monkeypatch.setattr(flac, "_frame_candidates", lambda tail: searched.append(len(tail)) or candidates(tail))
    data += b"\xff\xf8" * flac.TAIL_BYTES
    flac.parts(io.BytesIO(bytes(data)), len(data))
    assert searched == [flac.TAIL_BYTES]
