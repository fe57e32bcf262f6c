"""Structure of the files that libsndfile does not read: files that were joined, and where one is cut off.

FFmpeg decodes these formats. But it stops at the end of the first of joined MP4, WMA and AMR files, gives up after a
damaged box or frame, and does not report that the end of a file is missing. Each module here finds these places in
one kind of format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from device_app.audio.containers.foreign import asf, chunks, matroska, mp4, raw
from device_app.audio.containers.foreign.part import ForeignPart, whole
from device_app.audio.containers.view import first_found

# Each takes a file and its size in bytes, and returns its parts; None if it is not of its format.
FORMATS: Sequence[Callable[[IO[bytes], int], list[ForeignPart] | None]] = (
    mp4.parts,
    asf.parts,
    chunks.avi_parts,
    matroska.parts,
    chunks.flv_parts,
    chunks.transport_parts,
    raw.parts,  # last, because other files can begin with bytes that look like its frames
)


def parts(file: IO[bytes]) -> list[ForeignPart]:
    """The recordings in a file, in order; one with the whole file if its structure is not known.

    Args:
        file: a seekable binary stream; its position changes.
    """
    return first_found(file, FORMATS) or [whole(file, file.seek(0, 2))]
