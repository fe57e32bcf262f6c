"""Finds the streams of audio in a file from the structure of the file, because the lengths in headers may be wrong.

A decoder stops at the length that a header declares, even if audio follows: at the end of the first of several joined
files, or where a recorder was killed before it wrote the length. Each module here reads the container formats of one
kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from device_app.audio.containers import flac, iff, long_chunks, mpeg, ogg, short_headers, sun, voc
from device_app.audio.containers.foreign.chunks import TRANSPORT_START, transport_packet
from device_app.audio.containers.view import Part, first_found

# Each takes a file at its start and the file's size in bytes. It returns the streams; None, or an empty list, if the
# file is not of its format or has no audio that it can find.
FORMATS: Sequence[Callable[[IO[bytes], int], list[Part] | None]] = (
    iff.parts,  # WAV, RF64, AIFF, 8SVX
    flac.parts,
    ogg.parts,
    sun.parts,  # .au
    long_chunks.parts,  # W64, CAF
    voc.parts,
    short_headers.parts,  # NIST SPHERE, and others of one short header
    mpeg.parts,  # MP3; last, because other files can begin with bytes that look like its frames
)

# Containers that libsndfile does not read: offset in bytes from the start of the file, and the bytes there.
FOREIGN_SIGNATURES = (
    (4, b"ftyp"),  # MP4, M4A, MOV, 3GP
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    (4, b"skip"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"#!AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF: WMA, WMV
    (0, b"FLV\x01"),
    (0, b"MAC "),  # Monkey's Audio
    (0, b"wvpk"),  # WavPack
    (8, b"AVI "),
    (28, b"\x7fFLAC"),  # in Ogg; libsndfile 1.2.2 cannot decode it
    (0, b"\xff\xf1"),  # AAC with ADTS headers
    (0, b"\xff\xf9"),
    (0, b"\x0b\x77"),  # AC-3
    (0, b"\0\0\1\xba"),  # MPEG program stream: its packets have MP2 frames, and headers between them
)


def parts(file: IO[bytes]) -> list[Part] | None:
    """The streams of audio in a file, in order.

    Args:
        file: a seekable binary stream; its position changes.

    Returns:
        At least one stream. None if the file is of none of these formats or cannot be read: a decoder then reads the
        whole file, and reports the error.
    """
    return None if is_foreign(file) else first_found(file, FORMATS)


def is_foreign(file: IO[bytes]) -> bool:
    """Whether a file is a container that libsndfile does not read, such as MP4; the position in the file changes.

    False if it cannot be read.
    """
    try:
        file.seek(0)
        start = file.read(TRANSPORT_START)
    except OSError:
        return False
    if transport_packet(start) is not None:
        return True
    return any(start[offset : offset + len(magic)] == magic for offset, magic in FOREIGN_SIGNATURES)


def is_alac(file: IO[bytes]) -> bool:
    """Whether a stream is CAF with ALAC, of which libsndfile decodes damaged packets without an error."""
    file.seek(0)
    start = file.read(32)
    return start[:4] == b"caff" and start[8:12] == b"desc" and start[28:] == b"alac"
