"""A file that is put together from spans of another one, so that a decoder reads only what it should."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any

HEADER_TOLERANCE_S = 0.1  # encoders and decoders count a few samples more or fewer than a header says
UNKNOWN_FROM = 0x7FFF0000  # bytes: programs that cannot know a length write this much or more into 32 bits

Span = bytes | tuple[int, int]  # bytes of our own, or start and length in the file


class View(io.RawIOBase):
    """A read-only, seekable file of spans.

    Attributes:
        failure: why the file could not be read; to a decoder that is its end.
    """

    def __init__(self, file: IO[bytes] | View, spans: Sequence[Span]) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self._file = file
        self._spans = [span for span in spans if (len(span) if isinstance(span, bytes) else span[1])]
        lengths = [len(span) if isinstance(span, bytes) else span[1] for span in self._spans]
        self._starts = [0, *accumulate(lengths)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, except at the end: a decoder may take a short read for the end."""
        target = memoryview(buffer).cast("B")
        done = 0
        while done < len(target) and self._position < self._starts[-1]:
            data = self._piece(len(target) - done)
            if not data:  # the file shrank while it was read
                break
            target[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return done

    def _piece(self, most: int) -> bytes:
        index = bisect_right(self._starts, self._position) - 1
        within = self._position - self._starts[index]
        span = self._spans[index]
        if isinstance(span, bytes):
            return span[within : within + most]
        try:
            self._file.seek(span[0] + within)
            return self._file.read(min(most, span[1] - within)) or b""
        except OSError as error:  # a decoder's callback must not raise
            self.failure = error
            return b""


@dataclass(frozen=True)
class Part:
    """A stream of audio in a file.

    Attributes:
        file: the stream as a file of its own.
        declared: samples per channel that its header promises; None if it does not say.
        is_cut: its last block, page or chunk is incomplete.
        samples: per channel that it has in fact, if its structure shows it.
        is_mpeg: whether libmpg123 decodes it, which prints messages.
        first: the number of its first sample in the recording, if it is the rest of a damaged stream.
    """

    file: View
    declared: int | None = None
    is_cut: bool = False
    samples: int | None = None
    is_mpeg: bool = False
    first: int = 0


def skip_id3(file: IO[bytes], position: int) -> int:
    """Where the audio begins after ID3v2 tags at a position."""
    while True:
        file.seek(position)
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:]):
            return position
        size = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
        position += 10 + size + (10 if header[5] & 0x10 else 0)


def find_all(file: IO[bytes], patterns: Sequence[bytes], start: int, size: int) -> list[int]:
    """Offsets of any of the patterns, in order; reads the file a piece at a time."""
    longest = max(map(len, patterns))
    found: set[int] = set()
    file.seek(start)
    position, rest = start, b""
    while position < size and (data := file.read(1 << 20)):
        piece = rest + data
        origin = position - len(rest)
        for pattern in patterns:
            at = piece.find(pattern)
            while at >= 0:
                found.add(origin + at)
                at = piece.find(pattern, at + 1)
        position += len(data)
        rest = piece[-(longest - 1) :]
    return sorted(found)
