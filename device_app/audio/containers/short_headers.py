"""NIST SPHERE, AVR, HTK, Psion WVE and Akai MPC 2000: one short header with the number of samples, then the samples.

libsndfile reads to the end of such a file, whatever its header says.
"""

from __future__ import annotations

import re
import struct
from typing import IO

from device_app.audio.containers.joined import HeaderReader, Sound, joined_parts
from device_app.audio.containers.view import Part

SPHERE_FIELD = re.compile(rb"^(\w+) -(?:i|s\d+) (\S+)", re.MULTILINE)
MAX_SPHERE_HEADER = 1 << 16  # bytes; the NIST's tools write 1024
MAX_COUNT = 1 << 48  # a larger number in a header is damage
HTK_PERIODS = range(10, 10_001)  # of a sample, in units of 100 ns: 1 kHz to 1 MHz


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each file in `file`; None if it begins with none of these formats."""
    for read in FORMATS:
        if found := joined_parts(file, size, read):
            return found
    return None


def _sphere(file: IO[bytes], at: int) -> Sound | None:
    """NIST SPHERE, for which the NIST wrote the text header: "sample_count -i 64000"."""
    file.seek(at)
    start = file.read(16)
    if start[:8] != b"NIST_1A\n" or not start[8:].strip().isdigit():
        return None
    length = int(start[8:])
    if not 16 <= length <= MAX_SPHERE_HEADER:
        return None
    header = start + file.read(length - 16)
    fields = dict(SPHERE_FIELD.findall(header.split(b"\nend_head")[0]))
    channels, width, rate = (_count(fields, key) for key in (b"channel_count", b"sample_n_bytes", b"sample_rate"))
    if not (channels and width and rate) or b"," in fields.get(b"sample_coding", b""):  # compressed
        return None
    count = _count(fields, b"sample_count")
    frame_bytes = channels * width
    return Sound(header, at + length, None if count is None else count * frame_bytes, frame_bytes, rate)


def _count(fields: dict[bytes, bytes], key: bytes) -> int | None:
    text = fields.get(key, b"")
    return int(text) if text.isdigit() and len(text) < 20 and int(text) < MAX_COUNT else None


def _avr(file: IO[bytes], at: int) -> Sound | None:
    header = _header(file, at, b"2BIT", 128)
    if header is None:
        return None
    frame_bytes = (2 if header[12:14] == b"\xff\xff" else 1) * ((int.from_bytes(header[14:16], "big") + 7) // 8)
    # The first of the four bytes is a code for the rates of the Atari; some writers use all four for the rate.
    rate = int.from_bytes(header[23:26], "big") or int.from_bytes(header[22:26], "big")
    return _sound(header, at, int.from_bytes(header[26:30], "big") * frame_bytes, frame_bytes, rate)


def _wve(file: IO[bytes], at: int) -> Sound | None:
    header = _header(file, at, b"ALawSoundFile**\0", 32)
    return None if header is None else _sound(header, at, int.from_bytes(header[18:22], "big"), 1, 8000)


def _mpc(file: IO[bytes], at: int) -> Sound | None:
    header = _header(file, at, b"\1\4", 42)
    if header is None or header[21] > 1:
        return None
    frame_bytes = 2 * (1 + header[21])
    frames, rate = int.from_bytes(header[30:34], "little"), int.from_bytes(header[40:42], "little")
    return _sound(header, at, frames * frame_bytes, frame_bytes, rate)


def _htk(file: IO[bytes], at: int) -> Sound | None:
    """HTK waveforms. libsndfile demands that the count fits the length of the file, so it gets a header of .au."""
    header = _header(file, at, b"", 12)
    if header is None or header[8:] != b"\0\2\0\0":
        return None
    count, period = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    if not count or period not in HTK_PERIODS:
        return None
    rate = round(1e7 / period)
    return Sound(struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 3, rate, 1), at + 12, count * 2, 2, rate)


def _header(file: IO[bytes], at: int, magic: bytes, length: int) -> bytes | None:
    """A header of a fixed length in bytes; None if it does not begin with `magic`, or the file ends in it."""
    file.seek(at)
    header = file.read(length)
    return header if len(header) == length and header.startswith(magic) else None


def _sound(header: bytes, at: int, length: int, frame_bytes: int, rate: int) -> Sound | None:
    return Sound(header, at + len(header), length, frame_bytes, rate) if frame_bytes and rate else None


FORMATS: tuple[HeaderReader, ...] = (_sphere, _avr, _wve, _mpc, _htk)
