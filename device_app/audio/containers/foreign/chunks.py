"""Where AVI, FLV and MPEG transport streams are cut off or damaged. FFmpeg reads on after that, but does not say it."""

from __future__ import annotations

import re
from typing import IO

import numpy as np

from device_app.audio.containers.foreign.piece import CUT, DAMAGED, Piece, whole

MAX_CHUNKS = 10_000_000
CHUNK_NAME = re.compile(rb"[0-9A-Za-z ]{4}")
SYNC = 0x47  # the first byte of each packet of a transport stream
TRANSPORT_PACKETS = ((188, 0), (192, 4))  # bytes in a packet, and before its sync byte; the second: .m2ts
PACKETS_AT_ONCE = 4096
ERROR_FLAG = 0x80  # of the second byte: the receiver could not correct the packet


def avi_pieces(file: IO[bytes], size: int) -> list[Piece] | None:
    """AVI has RIFF chunks, with lists of chunks in them."""
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"AVI ":
        return None
    return [whole(file, size, _avi_fault(file, size))]


def _avi_fault(file: IO[bytes], size: int) -> str | None:
    position = 0
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(12)
        if not header.strip(b"\0"):
            return None
        name, length = header[:4], int.from_bytes(header[4:8], "little")
        if len(header) < 8 or CHUNK_NAME.fullmatch(name) is None:
            return CUT if len(header) < 8 else DAMAGED
        if name == b"RIFF" or (name == b"LIST" and header[8:] in (b"movi", b"rec ")):
            if not length:  # a recorder was stopped before it wrote the size
                return None
            if position + 8 + length > size + 1:
                return CUT
            position += 12
        else:
            position += 8 + length + length % 2
            if position > size + 1:
                return DAMAGED
    return None


def flv_pieces(file: IO[bytes], size: int) -> list[Piece] | None:
    """FLV has tags, each followed by its size (Adobe Flash Video File Format Specification 10.1, annex E)."""
    start = file.read(9)
    if start[:4] != b"FLV\x01":
        return None
    position = int.from_bytes(start[5:], "big") + 4
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(11)
        if not header:
            break
        end = position + 11 + int.from_bytes(header[1:4], "big")
        if len(header) < 11 or (end > size and header[0] & 0x1F in (8, 9, 18)):
            return [whole(file, size, CUT)]
        file.seek(end)
        if header[0] & 0x1F not in (8, 9, 18) or file.read(4) not in (b"", (end - position).to_bytes(4, "big")):
            return [whole(file, size, DAMAGED)]
        position = end + 4
    return [whole(file, size)]


def transport_pieces(file: IO[bytes], size: int) -> list[Piece] | None:
    """A transport stream has packets of one size, ISO/IEC 13818-1, section 2.4.3."""
    start = file.read(4 * TRANSPORT_PACKETS[-1][0])
    for length, first in TRANSPORT_PACKETS:
        if len(start) >= 3 * length and all(byte == SYNC for byte in start[first : 3 * length : length]):
            return [whole(file, size, _transport_fault(file, length, first))]
    return None


def _transport_fault(file: IO[bytes], length: int, first: int) -> str | None:
    file.seek(0)
    while block := file.read(length * PACKETS_AT_ONCE):
        packets = np.frombuffer(block, np.uint8)
        if (packets[first::length] != SYNC).any() or (packets[first + 1 :: length] & ERROR_FLAG).any():
            return DAMAGED
        if len(block) % length > first:
            return CUT
    return None
