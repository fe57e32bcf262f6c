"""Files that are nothing but frames: AMR, AAC with ADTS headers, AC-3. Damaged places, joined files, a cut-off end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from device_app.audio.containers.foreign.part import ForeignPart, whole
from device_app.audio.containers.view import Span, View, skip_id3

BLOCK = 1 << 20  # bytes read at once
MAX_SEARCH = 1 << 20  # bytes after damage in which the next frame is sought
MAX_FAULTS = 1000  # damaged places, tags and joined files, after which the rest counts as damaged
CHAIN = 5  # frames in a row that show where frames go on after damage

# Bytes of a frame by its type, RFC 4867 and 3GPP TS 26.101, 26.201; the others are reserved.
AMR_NB_BYTES = {0: 13, 1: 14, 2: 16, 3: 18, 4: 20, 5: 21, 6: 27, 7: 32, 8: 6, 15: 1}
AMR_WB_BYTES = {0: 18, 1: 24, 2: 33, 3: 37, 4: 41, 5: 47, 6: 51, 7: 59, 8: 61, 9: 6, 14: 1, 15: 1}
AMR_NO_DATA = b"\x7c"  # a frame of 20 ms without sound
AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
AC3_RATES = (48_000, 44_100, 32_000)


@dataclass(frozen=True)
class _Codec:
    """How the frames of a codec are found.

    Attributes:
        length: bytes of the frame that begins with these bytes (16, or all that are left); 0 if none does.
        start: what a frame can begin with.
        frame_s: seconds of a frame; 0 if they differ.
        signature: what a file begins with; empty if it is the first frame.
    """

    length: Callable[[bytes], int]
    start: re.Pattern[bytes]
    frame_s: float = 0.0
    signature: bytes = b""


def amr_nb(header: bytes) -> int:
    """Bytes of an AMR frame; 0 if none begins here."""
    return 0 if not header or header[0] & 0x83 else AMR_NB_BYTES.get(header[0] >> 3, 0)


def amr_wb(header: bytes) -> int:
    """Bytes of an AMR-WB frame; 0 if none begins here."""
    return 0 if not header or header[0] & 0x83 else AMR_WB_BYTES.get(header[0] >> 3, 0)


def adts(header: bytes) -> int:
    """Bytes of an AAC frame, ISO/IEC 13818-7, section 6.2; 0 if none begins here."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 and header[2] >> 2 & 15 < 13 else 0


def ac3(header: bytes) -> int:
    """Bytes of a frame of AC-3 or E-AC-3, ETSI TS 102 366, sections 4.3 and E.1.2; 0 if none begins here."""
    if len(header) < 6 or header[:2] != b"\x0b\x77":
        return 0
    if header[5] >> 3 > 10:  # E-AC-3
        return ((header[2] & 7) << 8 | header[3]) * 2 + 2
    rate, code = header[4] >> 6, header[4] & 63
    if rate > 2 or code >= 2 * len(AC3_KBITS):
        return 0
    words = AC3_KBITS[code // 2] * 96_000 // AC3_RATES[rate]
    return 2 * (words + (code & 1 if rate == 1 else 0))


AMR = (
    _Codec(amr_nb, re.compile(rb"[\x00-\x7c]"), 0.02, b"#!AMR\n"),
    _Codec(amr_wb, re.compile(rb"[\x00-\x7c]"), 0.02, b"#!AMR-WB\n"),
)
OTHERS = (_Codec(adts, re.compile(rb"\xff[\xf0-\xf9]")), _Codec(ac3, re.compile(rb"\x0b\x77")))


def parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """The frames of a file, without what is not a frame; None if it is none of these formats."""
    start = file.read(16)
    if found := [codec for codec in AMR if start.startswith(codec.signature)]:
        return _amr_parts(file, size, found[0])
    window, first = _Window(file, size), skip_id3(file, 0)
    for codec in OTHERS:
        if _is_chain(window, first, codec):
            frames = _walk(window, first, codec)
            end = frames.spans[-1][1] if frames.spans and frames.fault is None else size
            if (first, end) == (0, size):
                return [whole(file, size, frames.fault)]
            # FFmpeg does not find the frames behind a large picture, and takes a tag at the end for a damaged frame.
            return [ForeignPart(View(file, [(first, end - first)]), frames.fault)]
    return None


def _amr_parts(file: IO[bytes], size: int, codec: _Codec) -> list[ForeignPart]:
    """One part for consecutive joined files of one codec: FFmpeg takes the second signature for a damaged frame."""
    found: list[ForeignPart] = []
    window, position = _Window(file, size), 0
    for _ in range(MAX_FAULTS):
        frames = _walk(window, position + len(codec.signature), codec)
        spans: list[Span] = [codec.signature]
        for start, end, missing in frames.spans:
            spans += [AMR_NO_DATA * missing, (start, end - start)]
        found.append(ForeignPart(View(file, spans), frames.fault, frames.fault_s))
        others = [other for other in AMR if window.at(frames.end).startswith(other.signature)]
        if not others:
            break
        position, codec = frames.end, others[0]
    return found


@dataclass
class _Frames:
    """What a walk from frame to frame found.

    Attributes:
        spans: start and end in bytes of frames in a row, and the number of frames that are missing before them.
        fault: see `ForeignPart`.
        fault_s: see `ForeignPart`.
        end: position in bytes where the walk ended.
    """

    spans: list[tuple[int, int, int]] = field(default_factory=list)
    fault: str | None = None
    fault_s: float | None = None
    end: int = 0

    def note(self, fault: str, fault_s: float | None) -> None:
        """Keeps the first fault."""
        if self.fault is None:
            self.fault, self.fault_s = fault, fault_s


class _Window:
    """Reads a few bytes at any position, without a read of the file for each.

    Attributes:
        size: of the file, in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self._file = file
        self._start = 0
        self._block = b""

    def after_id3(self, position: int) -> int:
        """Position after the ID3v2 tags at a position, at most the size."""
        return min(skip_id3(self._file, position), self.size)

    def at(self, position: int, count: int = 16) -> bytes:
        """The bytes at a position, fewer at the end of the file."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._block):
            self._file.seek(position)
            self._start, self._block, offset = position, self._file.read(BLOCK), 0
        return self._block[offset : offset + count]


def _walk(window: _Window, position: int, codec: _Codec) -> _Frames:
    """Goes from frame to frame, past tags and damage, to the end of the file or the signature of another codec."""
    found, size = _Frames(), window.size
    count, missing, read = 0, 0, 0
    for _ in range(MAX_FAULTS):
        first = position
        while position < size and (frame := codec.length(window.at(position))) and position + frame <= size:
            position, read, count = position + frame, read + frame, count + 1
        if position > first:
            found.spans.append((first, position, missing))
        missing = 0
        found.end = position
        following = _after_tag(window, position, codec)
        if following == position:
            if position == size or window.at(position).startswith(tuple(other.signature for other in AMR)):
                return found
            if codec.length(window.at(position)):  # the last, and not complete
                break
            after_damage = _next_frame(window, position + 1, codec)
            if after_damage is None:
                break
            found.note("some of its frames are damaged", count * codec.frame_s or None)
            # The number of missing frames, by the mean length of a frame so far.
            damaged = after_damage - position
            following, missing = after_damage, damaged * count // max(read, 1)
            count, read = count + missing, read + damaged
        position = following
    is_frame = position < size and codec.length(window.at(position)) > 0
    found.note(
        "its last frame is not complete" if is_frame else "what follows is damaged", count * codec.frame_s or None
    )
    found.end = size
    return found


def _after_tag(window: _Window, position: int, codec: _Codec) -> int:
    """Position after a signature or tag that begins here; `position` if there is none."""
    here = window.at(position)
    if codec.signature and here.startswith(codec.signature):
        return position + len(codec.signature)
    if here.startswith((b"APETAGEX", b"LYRICSBEGIN")) or (here.startswith(b"TAG") and window.size - position == 128):
        return window.size
    return window.after_id3(position) if here.startswith(b"ID3") else position


def _next_frame(window: _Window, start: int, codec: _Codec) -> int | None:
    """Position of the next frame that others or the end of the file follow; None if there is none nearby."""
    block = window.at(start, MAX_SEARCH)
    signature = block.find(codec.signature) if codec.signature else -1
    for match in codec.start.finditer(block, 0, signature if signature >= 0 else len(block)):
        if _is_chain(window, start + match.start(), codec):
            return start + match.start()
    return start + signature if signature >= 0 else None


def _is_chain(window: _Window, position: int, codec: _Codec) -> bool:
    for count in range(CHAIN):
        if position >= window.size:
            return count > 1 or (count == 1 and position == window.size)
        frame = codec.length(window.at(position))
        if not frame:
            return False
        position += frame
    return True
