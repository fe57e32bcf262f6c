"""MP4 and its relatives (M4A, MOV, 3GP): files of boxes, ISO/IEC 14496-12, section 4.2."""

from __future__ import annotations

import re
import struct
from typing import IO

from device_app.audio.containers.foreign.part import CUT, DAMAGED, ForeignPart, whole
from device_app.audio.containers.view import Span, View

NO_INDEX = "its index is missing, because it is cut off or the recording was not ended"
MAX_BOXES = 1_000_000  # a fragmented file has two boxes for each second or so
MAX_REPAIRS = 1000
MAX_FILES = 1000  # joined
MAX_VENDOR_BOXES = 20  # boxes of unknown kinds in a row
BLOCK = 1 << 20  # bytes read at a time in a search
KINDS = frozenset(b"ftyp styp moov moof mdat free skip wide sidx ssix mfra meta uuid pdin prft emsg pnot udta".split())
_KIND = re.compile(b"|".join(sorted(KINDS)))


def parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """One part for each of joined files; None if the file is not MP4.

    A decoder would not find the next box after a damaged one. It gets a box to skip ("free") in its place, of the same
    length, because the index of the samples has their positions in the file.
    """
    if size < 8 or _box(file, 0, size)[0] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return None
    files: list[_File] = [_File(0)]
    position, repairs = 0, 0
    for _ in range(MAX_BOXES):
        if position >= size:
            break
        kind, end = _box(file, position, size)
        if kind == b"ftyp" and "moov" in files[-1].kinds and len(files) < MAX_FILES:
            files.append(_File(position))
        if kind in KINDS and end <= size:
            files[-1].kinds.add(kind.decode())
        elif not _leads_on(file, position, size):
            following = _next_box(file, position + 8, size) if repairs < MAX_REPAIRS else size
            if following == size:
                if kind in KINDS or not files[-1].is_complete:  # else only a tag or padding follows
                    files[-1].fault = files[-1].fault or (CUT if kind in KINDS else DAMAGED)
                break
            repairs += 1
            files[-1].hide(position, following)
            files[-1].fault = DAMAGED
            end = following
        position = end
    for one in files:
        if "moov" not in one.kinds:
            one.fault = NO_INDEX
    # Segments of a stream may begin with "ftyp" too; they are not files of their own.
    if any("moov" not in one.kinds for one in files[1:]):
        return [whole(file, size, files[0].fault)]
    if len(files) == 1 and not repairs:
        return [whole(file, size, files[0].fault)]
    ends = [*(one.start for one in files[1:]), size]
    return [ForeignPart(one.view(file, end), one.fault) for one, end in zip(files, ends, strict=True)]


class _File:
    """One of joined files.

    Attributes:
        start: its position in bytes.
        kinds: of the boxes that were found in it.
        fault: see `ForeignPart`.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.kinds: set[str] = set()
        self.fault: str | None = None
        self._hidden: list[tuple[int, int]] = []

    @property
    def is_complete(self) -> bool:
        """Whether nothing more must follow: its index has the positions of all samples."""
        return {"moov", "mdat"} <= self.kinds and "moof" not in self.kinds

    def hide(self, start: int, end: int) -> None:
        """Makes a range of bytes a box to skip."""
        self._hidden.append((start, end))

    def view(self, file: IO[bytes], end: int) -> View:
        spans: list[Span] = []
        position = self.start
        for first, last in self._hidden:
            header = struct.pack(">I4sQ", 1, b"free", last - first)
            if last - first < len(header):
                header = struct.pack(">I4s", last - first, b"free")
            spans += [(position, first - position), header]
            position = first + len(header)
        return View(file, [*spans, (position, end - position)])


def _box(file: IO[bytes], position: int, size: int) -> tuple[bytes, int]:
    """Kind and end of a box; the end is past `size` if the box is not valid."""
    file.seek(position)
    header = file.read(16)
    if len(header) < 8:
        return b"", size + 1
    length, kind = struct.unpack(">I4s", header[:8])
    if length == 0 and kind in KINDS:  # up to the end of the file
        return kind, size
    least = 8
    if length == 1 and len(header) == 16:
        length, least = struct.unpack(">Q", header[8:])[0], 16
    return kind, position + length if length >= least else size + 1


def _is_box(file: IO[bytes], position: int, size: int) -> bool:
    kind, end = _box(file, position, size)
    return kind in KINDS and end <= size


def _leads_on(file: IO[bytes], position: int, size: int) -> bool:
    """Whether boxes lead from here to a known one, or to the end: those between are a vendor's own."""
    for _ in range(MAX_VENDOR_BOXES):
        kind, position = _box(file, position, size)
        if position >= size:
            return position == size
        if kind in KINDS:
            return True
    return False


def _next_box(file: IO[bytes], position: int, size: int) -> int:
    """Position of the next box that another or the end of the file follows; `size` if there is none."""
    while position < size:
        file.seek(position)
        block = file.read(BLOCK)
        for match in _KIND.finditer(block, 4):
            start = position + match.start() - 4
            if _is_box(file, start, size):
                end = _box(file, start, size)[1]
                if end == size or _is_box(file, end, size):
                    return start
        if len(block) < BLOCK:
            break
        position += BLOCK - 8
    return size
