"""ASF (WMA, WMV): files of objects, each a GUID and a size; Advanced Systems Format specification, section 2.1."""

from __future__ import annotations

from itertools import pairwise
from typing import IO

from device_app.audio.containers.foreign.part import CUT, ForeignPart, whole
from device_app.audio.containers.view import View

HEADER_OBJECT = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
DATA_OBJECT = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
MAX_OBJECTS = 10_000


def parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """One part for each of joined files; None if the file is not ASF."""
    if file.read(16) != HEADER_OBJECT:
        return None
    starts, position, is_cut = [], 0, False
    for _ in range(MAX_OBJECTS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 24:
            is_cut = bool(header)
            break
        kind, length = header[:16], int.from_bytes(header[16:], "little")
        if kind == HEADER_OBJECT:
            starts.append(position)
        if length < 24:  # the size of a live stream's data is not known
            break
        position += length
        if position > size:
            is_cut = kind in (HEADER_OBJECT, DATA_OBJECT)
            break
    if len(starts) == 1:
        return [whole(file, size, CUT if is_cut else None)]
    return [
        ForeignPart(View(file, [(start, end - start)]), CUT if is_cut and end == size else None)
        for start, end in pairwise([*starts, size])
    ]
