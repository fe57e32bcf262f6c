"""Structure of the files that libsndfile does not read: files that were joined, and where one is cut off.

FFmpeg reads the sound of these formats. But it stops at the end of the first of joined MP4, WMA and AMR files, gives
up after a damaged box or frame, and does not say that the end of a file is missing. Each module here finds these places
in one kind of format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from device_app.audio.containers.foreign import asf, chunks, matroska, mp4, raw
from device_app.audio.containers.foreign.piece import Piece, whole
from device_app.audio.containers.view import first_found

# Each takes a file and its size in bytes, and returns its pieces; None if it is not of its format.
FORMATS: Sequence[Callable[[IO[bytes], int], list[Piece] | None]] = (
    mp4.pieces,
    asf.pieces,
    chunks.avi_pieces,
    matroska.pieces,
    chunks.flv_pieces,
    chunks.transport_pieces,
    raw.pieces,  # last, because other files can begin with bytes that look like its frames
)


def pieces(file: IO[bytes]) -> list[Piece]:
    """The recordings in a file, in order: at least one, with the whole file if its structure is not known.

    Args:
        file: a seekable binary stream; its position changes.
    """
    return first_found(file, FORMATS) or [whole(file, file.seek(0, 2))]
