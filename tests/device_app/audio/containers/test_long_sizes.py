"""Sizes of 64 bits that are more than a file can have."""

import io
import struct

import pytest

from device_app.audio.containers import foreign
from device_app.audio.samples import duration_s, read_blocks
from editing.errors import BadAudioError

SIZES = [2**63 - 100, 2**63, 2**64 - 1]


def caf(size):
    return b"caff\0\1\0\0free" + struct.pack(">Q", size) + bytes(100)


def w64(size):
    return (
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"
        + bytes(24)
        + b"junk"
        + bytes(12)
        + struct.pack("<Q", size)
        + bytes(100)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("made", [caf, w64])
def test_a_chunk_that_is_longer_than_any_file_is_damage(made, size, tmp_path):
    (tmp_path / "x").write_bytes(made(size))
    for source in (tmp_path / "x", io.BytesIO(made(size))):
        with pytest.raises(BadAudioError, match="not audio that can be read"):
            list(read_blocks(source, "x"))
    with pytest.raises(BadAudioError, match="not audio that can be read"):
        duration_s(tmp_path / "x")


@pytest.mark.parametrize("size", SIZES)
def test_no_mp4_file_follows_a_box_that_is_longer_than_any_file(size):
    boxes = struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4sQ", 1, b"free", size) + bytes(100)
    assert len(foreign.parts(io.BytesIO(boxes))) == 1
