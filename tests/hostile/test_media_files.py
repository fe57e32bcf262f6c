"""Media files made to harm: each ends soon with audio or one line, and needs little memory."""

import contextlib
import io
import struct
import tracemalloc

import numpy as np
import pytest

from device_app.audio.containers import foreign
from device_app.audio.samples import read_blocks
from editing.errors import BadAudioError
from tests.device_app.audio.media_files import FRAGMENTED, make

pytest.importorskip("av", reason="PyAV is not installed")

SIZE = 60_000
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
MKV = b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7
CLUSTER = b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I4s", 8, b"ftyp") * (SIZE // 8),
        (struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 8, b"moov")) * (SIZE // 16),
        struct.pack(">I4s", 8, b"ftyp") + b"\0\0\0\x08mdaX" * (SIZE // 8),
        struct.pack(">I4s", 8, b"ftyp") + (struct.pack(">I4s", 8, b"free") * 2 + b"\xff" * 9) * (SIZE // 25),
        (ASF + struct.pack("<Q", 24)) * (SIZE // 24),
        b"#!AMR\n" * (SIZE // 6),
        b"#!AMR\n#!AMR-WB\n" * (SIZE // 15),
        b"#!AMR\n" + b"\x7c" * SIZE,
        b"#!AMR\n" + (b"\x3c" + bytes(31) + b"\xff") * (SIZE // 33),
        b"\x0b\x77\0\0\x08\x40" * (SIZE // 6),
        b"\xff\xf1\x50\x80\x01\x00\xfc\x00" * (SIZE // 8),
        MKV + CLUSTER * (SIZE // 12),
        MKV + CLUSTER + b"\xa3\x84\x81\0\0\x80" * 4 + b"\xa3\xff" * (SIZE // 2),
        MKV + b"\xec\x80" * (SIZE // 2),
        b"RIFF\xff\xff\xff\x7fAVI " + b"LIST\xff\xff\xff\xffmovi" * (SIZE // 12),
        b"FLV\1\4\0\0\0\x09\0\0\0\0" + b"\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\x0b" * (SIZE // 15),
    ],
    ids=range(16),
)
def test_a_structure_without_end_is_walked_in_bounds(data):
    tracemalloc.start()
    try:
        found = foreign.parts(io.BytesIO(data))
        assert sum(len(part.file.read()) for part in found[:2000]) <= 2 * len(data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["m4a", "amr", "webm", "wma", "ts", "aac", "ac3", "avi", "flv", "fragmented"])
def test_damage_anywhere_gives_audio_or_one_line(kind, tmp_path):
    rng = np.random.default_rng(7)
    usual, options = ("mp4", FRAGMENTED) if kind == "fragmented" else (kind, None)
    data = make(tmp_path / "talk", usual, options=options).read_bytes()[:30_000]
    for _ in range(12):
        broken = bytearray(data)
        for at in rng.integers(0, len(data) - 8, 4) if rng.random() < 0.5 else rng.integers(0, 600, 4):
            broken[at : at + 8] = rng.integers(0, 256, 8, np.uint8).tobytes()
        with contextlib.suppress(BadAudioError):
            for _block in read_blocks(io.BytesIO(bytes(broken)), "talk"):
                pass
