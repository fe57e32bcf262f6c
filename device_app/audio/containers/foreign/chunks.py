"""Where AVI, FLV and MPEG transport streams are cut off or damaged. FFmpeg reads on after that, but does not say it."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import IO

import numpy as np

from device_app.audio.containers.foreign.part import CUT, DAMAGED, ForeignPart, whole
from device_app.audio.containers.view import UNKNOWN_FROM, View

MAX_CHUNKS = 10_000_000  # of AVI, or tags of FLV
MAX_FILES = 1000  # joined
CHUNK_NAME = re.compile(rb"[0-9A-Za-z _]{4}")
FLV = b"FLV\x01"
SYNC = 0x47  # the first byte of each packet of a transport stream
TRANSPORT_PACKETS = ((188, 0), (192, 4))  # bytes in a packet, and before its sync byte; the second: .m2ts
TRANSPORT_START = 3 * 192  # bytes that tell a transport stream
PACKETS_AT_ONCE = 4096
ERROR_FLAG = 0x80  # of the second byte: the receiver could not correct the packet


def avi_parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """AVI has RIFF chunks, with lists of chunks in them. One part, the whole file; None if the file is not AVI."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"AVI ":
        return None
    return [whole(file, size, _avi_fault(file, size))]


def _avi_fault(file: IO[bytes], size: int) -> str | None:
    position, riff_end = 0, size
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(12)
        # After the last RIFF chunk, only tags or padding follow.
        if not header or (position >= riff_end and header[:4] != b"RIFF"):
            return None
        name, length = header[:4], int.from_bytes(header[4:8], "little")
        if len(header) < 8 or CHUNK_NAME.fullmatch(name) is None:
            return CUT if len(header) < 8 else DAMAGED
        if name == b"RIFF" or (name == b"LIST" and header[8:] in (b"movi", b"rec ")):
            if not length or length >= UNKNOWN_FROM:  # a recorder was stopped before it wrote the size
                return None
            if position + 8 + length > size + 1:
                return CUT
            if name == b"RIFF":
                riff_end = position + 8 + length
            position += 12
        else:
            position += 8 + length + length % 2
            if position > size + 1:
                return DAMAGED
    return None


def flv_parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """FLV has tags, each followed by its size (Adobe Flash Video File Format Specification 10.1, annex E).

    One part for each of joined files; None if the file is not FLV.
    """
    if file.read(4) != FLV:
        return None
    starts: list[int] = []
    position, fault = 0, None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(11)
        if not header:
            break
        if header[:4] == FLV and len(starts) < MAX_FILES:
            starts.append(position)
            position += int.from_bytes(header[5:9], "big") + 4
            continue
        length = int.from_bytes(header[1:4], "big")
        end = position + 11 + length
        if len(header) < 11 or end > size:
            fault = CUT if len(header) < 11 or header[0] & 0x1F in (8, 9, 18) else DAMAGED
            break
        file.seek(end)
        after = file.read(4)
        # Some writers do not count the header of 11 bytes, or one byte of it. Tags of unknown kinds are skipped.
        if after and int.from_bytes(after, "big") not in (length + 11, length + 10, length or None):
            fault = DAMAGED
            break
        position = end + 4
    return [
        ForeignPart(View(file, [(start, end - start)]), fault if end == size else None, is_whole=len(starts) == 1)
        for start, end in pairwise([*starts, size])
    ]


def transport_parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """A transport stream has packets of one size, ISO/IEC 13818-1, section 2.4.3.

    One part, the whole file; None if the file is no transport stream.
    """
    found = transport_packet(file.read(TRANSPORT_START))
    return None if found is None else [whole(file, size, _transport_fault(file, *found))]


def transport_packet(start: bytes) -> tuple[int, int] | None:
    """Bytes of a packet, and before its sync byte; None if the file is no transport stream.

    Args:
        start: the first `TRANSPORT_START` bytes of the file.
    """
    syncs = bytes(3 * [SYNC])
    return next(((n, first) for n, first in TRANSPORT_PACKETS if start[first : 3 * n : n] == syncs), None)


def _transport_fault(file: IO[bytes], length: int, first: int) -> str | None:
    """The fault of a stream with packets of `length` bytes, each with its sync byte at the offset `first`."""
    file.seek(0)
    while block := file.read(length * PACKETS_AT_ONCE):
        packets = np.frombuffer(block, np.uint8)
        if (packets[first::length] != SYNC).any() or (packets[first + 1 :: length] & ERROR_FLAG).any():
            return DAMAGED
        if len(block) % length > first:
            return CUT
    return None
