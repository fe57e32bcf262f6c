"""The streams in a recording's file, read from its structure: no decoder's count of samples is trusted.

Decoders stop where a header ends, even if sound follows: at the end of the first of several joined files, or
where a recorder was killed before it wrote the length. Each format here finds what is really in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from device_app.audio.containers import flac, iff, long_chunks, mpeg, ogg, sun
from device_app.audio.containers.view import Part

FORMATS: Sequence[Callable[[IO[bytes], int], list[Part] | None]] = (
    iff.parts,
    flac.parts,
    ogg.parts,
    sun.parts,
    long_chunks.parts,
    mpeg.parts,  # last, as its frames have the weakest signature
)

# First bytes of containers that libsndfile does not read, by their offset.
MEDIA_SIGNATURES = (
    (4, b"ftyp"),  # MP4, M4A, MOV, 3GP
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"#!AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF: WMA, WMV
    (0, b"FLV\x01"),
    (0, b"MAC "),  # Monkey's Audio
    (0, b"wvpk"),  # WavPack
    (8, b"AVI "),
    (0, b"\xff\xf1"),  # AAC with ADTS headers
    (0, b"\xff\xf9"),
)


def parts(file: IO[bytes]) -> list[Part] | None:
    """The parts of a recording, in order; None if no format here knows the file, so a decoder must find out.

    Args:
        file: a seekable binary stream.
    """
    size = file.seek(0, 2)
    for find in FORMATS:
        file.seek(0)
        try:
            if found := find(file, size):
                return found
        except OSError:  # the decoder reads as far as it can
            return None
    return None


def is_media(file: IO[bytes]) -> bool:
    """Whether a file is a container that libsndfile does not read, such as MP4."""
    file.seek(0)
    start = file.read(16)
    return any(start[offset : offset + len(magic)] == magic for offset, magic in MEDIA_SIGNATURES)
