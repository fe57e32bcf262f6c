"""Sun/NeXT .au: a length that is wrong or was never written, and several files joined into one."""

from __future__ import annotations

from typing import IO, Literal

from device_app.audio.containers.joined import Sound, joined_parts
from device_app.audio.containers.view import UNKNOWN_FROM, Part

MAGICS: dict[bytes, Literal["big", "little"]] = {b".snd": "big", b"dns.": "little"}
# Bits of a sample by the number of its encoding: mu-law and A-law, PCM, floats, and last G.721 and G.723.
BITS = {1: 8, 2: 8, 3: 16, 4: 24, 5: 32, 6: 32, 7: 64, 27: 8, 23: 4, 25: 3, 26: 5}


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each .au file in `file`, the last to the end; None if it does not begin with one."""
    return joined_parts(file, size, _read)


def _read(file: IO[bytes], at: int) -> Sound | None:
    file.seek(at)
    header = bytearray(file.read(24))
    order = MAGICS.get(bytes(header[:4]))
    if order is None or len(header) < 24:
        return None
    offset, length, encoding, rate, channels = (int.from_bytes(header[i : i + 4], order) for i in range(4, 24, 4))
    frame_bytes = BITS.get(encoding, 0) * channels / 8
    if not frame_bytes or not rate or offset < 24:
        return None
    header[4:8] = (24).to_bytes(4, order)
    header[8:12] = b"\xff" * 4  # unknown: to the end of the file
    return Sound(bytes(header), at + offset, length if length < UNKNOWN_FROM else None, frame_bytes, rate)
