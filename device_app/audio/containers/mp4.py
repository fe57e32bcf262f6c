"""MP4 and its relatives (M4A, MOV, 3GP): files of boxes, ISO/IEC 14496-12, section 4.2."""

from __future__ import annotations

import struct
from typing import IO

MAX_BOXES = 1_000_000  # a fragmented file has two boxes for each second or so


def has_second_file(file: IO[bytes]) -> bool:
    """Whether another MP4 file follows the first, as after `cat a.m4a b.m4a`. Decoders stop at the end of the first.

    Args:
        file: seekable. Its position changes.
    """
    length = file.seek(0, 2)
    position, starts = 0, 0
    for _ in range(MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return False
        size, kind = struct.unpack(">I4s", header[:8])
        if kind == b"ftyp":
            starts += 1
        if starts != 1:
            return starts > 1
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        if size < 8:  # 0: up to the end of the file
            return False
        position += size
        if position >= length:  # a damaged size may be more than a file can have
            return False
    return False
