"""Creative Voice files of several blocks, built byte by byte."""

import io
import struct

import numpy as np
import pytest

from device_app.audio.containers import voc
from tests.device_app.audio.speech import decoded

RATE = 8000
TONE = np.round(127.5 + 100 * np.sin(np.arange(RATE) / 3)).astype(np.uint8).tobytes()  # 1 s


def block(kind, content, length=None):
    return bytes([kind]) + (len(content) if length is None else length).to_bytes(3, "little") + content


def sound(samples=TONE, codec=0, length=None):
    return block(voc.SOUND, bytes([256 - 1_000_000 // RATE, codec]) + samples, length)


def voc_file(*blocks, end=b"\0"):
    return voc.MAGIC + struct.pack("<HHH", 26, 0x10A, 0x1129) + b"".join(blocks) + end


SILENCE = block(voc.SILENCE, struct.pack("<HB", RATE - 1, 256 - 1_000_000 // RATE))  # 1 s
STEREO = block(voc.EXTENDED, struct.pack("<HBB", 65536 - 256_000_000 // (2 * RATE), 0, 1))


@pytest.mark.parametrize(
    ("data", "expected_s"),
    [
        (voc_file(sound()), 1),
        (voc_file(sound(), end=b""), 1),
        (voc_file(sound(), block(voc.MORE_SOUND, TONE), block(voc.MORE_SOUND, TONE)), 3),
        (voc_file(sound(), block(5, b"a text\0"), sound()), 2),
        (voc_file(sound(), SILENCE, sound()), 3),
        (voc_file(sound(), sound(bytes([0xFF]) * RATE, codec=7)), 2),
        (voc_file(STEREO, sound()), 0.5),
        (voc_file(sound()) + voc_file(sound(), sound()), 3),
        (voc_file(sound(), end=b"") + voc_file(sound()), 2),
        (voc_file(sound()) + b"TAG" + bytes(5000), 1),
    ],
    ids=["one", "no end", "continued", "a text", "silence", "two codecs", "stereo", "joined", "joined, no end", "tag"],
)
def test_all_blocks_are_read(data, expected_s):
    found, message = decoded(data)
    assert message is None
    assert len(found) / 16_000 == pytest.approx(expected_s, abs=0.02)


def test_silence_is_silent():
    found, _ = decoded(voc_file(sound(), SILENCE, sound()))
    assert np.abs(found[17_000:31_000]).max() == 0
    assert np.abs(found[33_000:47_000]).max() > 0.5


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_file_that_is_cut_off_in_any_block_says_so(share):
    data = voc_file(sound(), block(voc.MORE_SOUND, TONE), sound(), end=b"")
    found, message = decoded(data[: round(len(data) * share)])
    assert message.startswith("x: damaged or cut off")
    assert len(found) / 16_000 == pytest.approx(3 * share, abs=0.1)


@pytest.mark.parametrize("length", [0, 100, RATE // 2])
def test_sound_that_its_length_leaves_out_is_read(length):
    found, message = decoded(voc_file(sound(TONE * 3, length=length)))
    assert message is None
    assert len(found) / 16_000 == pytest.approx(3, abs=0.02)


def test_many_silent_blocks_take_little_memory():
    data = voc_file(sound(), *[block(voc.SILENCE, b"\xff\xff\x82")] * 2_000, sound())
    runs = voc.parts(io.BytesIO(data), len(data))
    assert sum(part.file.seek(0, 2) for part in runs) <= voc.MAX_SILENCE + 3 * RATE
