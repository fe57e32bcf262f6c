"""`View`, a file made of byte ranges of another file; `Part`, one audio stream in a file; what container modules share.

A decoder gets a view, so that it reads only the bytes that it should.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any, TypeVar

HEADER_TOLERANCE_S = 0.1  # encoders and decoders count a few samples more or fewer than a header says
# A 32-bit length of this value or above means "unknown": encoders that cannot seek write such placeholders.
UNKNOWN_FROM = 0x7FFF0000
ID3V1_BYTES = 128
TAGS = (b"TAG", b"ID3", b"APE", b"LYR")  # what tags begin with that taggers append to a file

Found = TypeVar("Found")
Span = bytes | tuple[int, int]  # literal bytes, or (offset, length) in bytes in the file


class View(io.RawIOBase):
    """A read-only, seekable file of spans.

    Attributes:
        failure: the OSError of a read that failed, else None; the decoder sees end of file instead.
    """

    def __init__(self, file: IO[bytes], spans: Sequence[Span]) -> None:
        """
        Args:
            file: a seekable file; its position changes.
            spans: the content of the view, in order.
        """
        super().__init__()
        self.failure: OSError | None = None
        self._file = file
        self._spans = [span for span in spans if (len(span) if isinstance(span, bytes) else span[1])]
        lengths = [len(span) if isinstance(span, bytes) else span[1] for span in self._spans]
        self._starts = [0, *accumulate(lengths)]
        self._position = 0

    def following(self, position: int, prefix: bytes) -> View:
        """A view of the same file: `prefix`, then what follows `position` (an offset in bytes in this view).

        The view refers to the file, not to this view: hundreds of nested views would be slow, and exceed the recursion
        limit.
        """
        index = min(bisect_right(self._starts, position), len(self._spans)) - 1
        if index < 0:
            return View(self._file, [prefix])
        within, first = position - self._starts[index], self._spans[index]
        rest = first[within:] if isinstance(first, bytes) else (first[0] + within, max(0, first[1] - within))
        return View(self._file, [prefix, rest, *self._spans[index + 1 :]])

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
            data = self._read_span(len(target) - done)
            if not data:  # the file shrank while it was read
                break
            target[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return done

    def _read_span(self, most: int) -> bytes:
        """At most `most` bytes from the position on, not beyond the span there; empty after an error."""
        index = bisect_right(self._starts, self._position) - 1
        within = self._position - self._starts[index]
        span = self._spans[index]
        if isinstance(span, bytes):
            return span[within : within + most]
        try:
            self._file.seek(span[0] + within)
            return self._file.read(min(most, span[1] - within)) or b""
        except (OSError, ValueError) as error:  # a decoder's callback must not raise; the latter if it was closed
            self.failure = error if isinstance(error, OSError) else OSError(str(error))
            return b""


@dataclass(frozen=True)
class Part:
    """A stream of audio in a file.

    Attributes:
        file: the stream as a file of its own.
        declared: samples per channel, by its header; None if it does not say.
        is_cut: its last block, page or chunk is incomplete.
        samples: samples per channel, counted from its frames; None if they were not counted.
        may_use_mpg123: libsndfile may decode it with libmpg123, which prints messages.
        is_unknown_format: no module here knows its format, so the length that libsndfile reports is all that is known.
        is_ogg: libsndfile takes the length from the last Ogg page, and decodes less if earlier pages are damaged.
        first: index per channel, within its FLAC stream, of its first sample; above 0 only for what follows damage.
    """

    file: View
    declared: int | None = None
    is_cut: bool = False
    samples: int | None = None
    may_use_mpg123: bool = False
    is_unknown_format: bool = False
    is_ogg: bool = False
    first: int = 0


def first_found(
    file: IO[bytes], formats: Sequence[Callable[[IO[bytes], int], list[Found] | None]]
) -> list[Found] | None:
    """What the first of the formats finds that knows a file; None if there is none, or the file cannot be read.

    Args:
        file: a seekable binary stream; its position changes.
        formats: each takes the file at its start and its size in bytes, and returns None or an empty list if the file
            is not of its format.
    """
    size = file.seek(0, 2)
    for find in formats:
        file.seek(0)
        try:
            if found := find(file, size):
                return found
        except OSError:  # the decoder reports it
            return None
    return None


def skip_id3(file: IO[bytes], position: int) -> int:
    """Offset in bytes of the first byte after the ID3v2 tags at `position`; `position` if there is none."""
    while True:
        file.seek(position)
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3" or any(byte & 0x80 for byte in header[6:]):
            return position
        size = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
        position += 10 + size + (10 if header[5] & 0x10 else 0)
