"""Structure of the files that libsndfile does not read: files that were joined, and where one is cut off.

FFmpeg decodes these formats. But it stops at the end of the first of joined MP4, WMA and AMR files, gives up after a
damaged box or frame, and does not report that the end of a file is missing. Each module here finds these places in
one kind of format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO, cast

from device_app.audio.containers.foreign import asf, chunks, matroska, mp4, ogg, raw
from device_app.audio.containers.foreign.part import ForeignPart, whole
from device_app.audio.containers.view import ID3V1_BYTES, View, first_found

PADDING = b"\0\r\n\xff"
PADDING_IN_FRAME = 8  # bytes like padding in which the last frame may end
BLOCK = 1 << 20  # bytes read at once

# Each takes a file and its size in bytes, and returns its parts; None if it is not of its format.
Find = Callable[[IO[bytes], int], list[ForeignPart] | None]
# Of nothing but packets. The others have sizes in headers, and know where their content ends.
PACKETS: Sequence[Find] = (chunks.flv_parts, chunks.transport_parts, raw.parts)
FORMATS: Sequence[Find] = (
    mp4.parts,
    asf.parts,
    chunks.avi_parts,
    matroska.parts,
    ogg.parts,
    *PACKETS,  # last, because other files can begin with bytes that look like frames
)


def parts(file: IO[bytes]) -> list[ForeignPart]:
    """The recordings in a file, in order; one with the whole file if its structure is not known.

    Padding at the end is no damage, as tools for transfer and recovery write it; sound may end in such bytes too.

    Args:
        file: a seekable binary stream; its position changes.
    """
    found = first_found(file, FORMATS) or [whole(file, file.seek(0, 2))]
    if found[-1].fault is not None and (end := _end_of_content(file)):
        size = file.seek(0, 2)
        packet = chunks.TRANSPORT_PACKETS[0][0]
        whole_packets = -(-end // packet) * packet  # a transport stream may end in a filled-up packet
        for shorter_end in (*range(end, end + PADDING_IN_FRAME + 1), whole_packets):
            if shorter_end >= size:
                continue
            shorter = first_found(cast("IO[bytes]", View(file, [(0, shorter_end)])), PACKETS)
            if shorter and shorter[-1].fault is None:
                return shorter
    return found


def _end_of_content(file: IO[bytes]) -> int:
    """The offset in bytes of the padding or ID3v1 tag at the end of a file; 0 if it has none, or all is padding."""
    size = file.seek(0, 2)
    end = size
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        block = file.read(end - start)
        if end == size and block[-ID3V1_BYTES:].startswith(b"TAG"):
            block = block[:-ID3V1_BYTES]
        content = block.rstrip(PADDING)
        if content:
            return (start + len(content)) % size
        end = start
    return 0
