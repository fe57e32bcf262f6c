"""W64 and CAF files, whose chunks have 64-bit sizes: wrong or unwritten sizes, cut-off and joined files."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Literal

from device_app.audio.containers.view import HEADER_TOLERANCE_S, Part, Span, View

# A length from here on was never written: -1, or the greatest signed number, less the name and size that it includes.
UNKNOWN_FROM = (1 << 63) - 64
MAX_CHUNKS = 10_000
MAX_PADDING = 7  # bytes of zeros between joined files: W64 fills up to a multiple of 8


@dataclass(frozen=True)
class _Layout:
    """How a format writes chunks: a name, a size of 8 bytes, and the content.

    Attributes:
        magic: the bytes that a file begins with.
        header: bytes before the first chunk.
        names: what names of chunks look like.
        name_length: bytes of a name.
        order: of the bytes in a size.
        is_header_counted: a chunk's size includes its name and the size itself.
        alignment: a chunk begins at a multiple of so many bytes, counted from the chunk before it.
        before_samples: bytes in the chunk "data" before the first sample.
        rate_and_frame_bytes: reads the chunk that describes the samples: samples per second, and bytes of one sample of
            all channels; (0, 0) if it does not say.
    """

    magic: bytes
    header: int
    names: re.Pattern[bytes]
    name_length: int
    order: Literal["big", "little"]
    is_header_counted: bool
    alignment: int
    before_samples: int
    rate_and_frame_bytes: Callable[[bytes], tuple[float, float]]


@dataclass(frozen=True)
class _Chunk:
    """A chunk.

    Attributes:
        name: as the file has it.
        size_at: offset in bytes of its size.
        content_at: offset in bytes of its content.
        length: bytes of its content.
        next: offset in bytes of the next chunk.
    """

    name: bytes
    size_at: int
    content_at: int
    length: int
    next: int


def _rate_and_frame_of_w64(description: bytes) -> tuple[float, float]:
    rate, byte_rate = struct.unpack_from("<II", description.ljust(12, b"\0"), 4)
    return (rate, byte_rate / rate) if rate else (0, 0)


def _rate_and_frame_of_caf(description: bytes) -> tuple[float, float]:
    rate, size, frames = struct.unpack_from(">d8xII", description.ljust(24, b"\0"))
    return (rate, size / frames) if math.isfinite(rate) and frames else (0, 0)


LAYOUTS = (
    _Layout(
        magic=b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00",
        header=40,
        names=re.compile(rb".{10}(?:\x28\xdb\x04\xc1\x00\x00|\x00\xc0\x4f\x8e\xdb\x8a)", re.DOTALL),
        name_length=16,
        order="little",
        is_header_counted=True,
        alignment=8,
        before_samples=0,
        rate_and_frame_bytes=_rate_and_frame_of_w64,
    ),
    _Layout(
        magic=b"caff\x00\x01",
        header=8,
        names=re.compile(rb"[A-Za-z0-9 ]{4}"),
        name_length=4,
        order="big",
        is_header_counted=False,
        alignment=1,
        before_samples=4,
        rate_and_frame_bytes=_rate_and_frame_of_caf,
    ),
)


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each of the joined files; None if it begins with neither W64 nor CAF, or that has no samples."""
    start = file.read(16)
    layout = next((one for one in LAYOUTS if start.startswith(one.magic)), None)
    found: list[Part] = []
    at: int | None = 0
    while layout is not None and at is not None and (result := _read(layout, file, at, size)) is not None:
        part, at = result
        found.append(part)
    return found or None


def _read(layout: _Layout, file: IO[bytes], start: int, size: int) -> tuple[Part, int | None] | None:
    """The recording whose header is at `start`, and the offset of the next one; None if it has no samples."""
    description = b""
    for chunk in _chunks(layout, file, start + layout.header, size):
        if chunk.name[:4] in (b"fmt ", b"desc"):
            file.seek(chunk.content_at)
            description = file.read(min(chunk.length, 64))
        elif chunk.name[:4] == b"data":
            return _sound(layout, file, start, size, chunk, *layout.rate_and_frame_bytes(description))
    return None


def _chunks(layout: _Layout, file: IO[bytes], at: int, size: int) -> Iterator[_Chunk]:
    for _ in range(MAX_CHUNKS):
        chunk = _chunk(layout, file, at)
        if chunk is None:
            return
        yield chunk
        at = chunk.next
        if at >= size:  # a damaged size may be more than a file can have
            return


def _chunk(layout: _Layout, file: IO[bytes], at: int) -> _Chunk | None:
    """What is at an offset, taken for a chunk; None if the file ends in its header."""
    header_length = layout.name_length + 8
    file.seek(at)
    header = file.read(header_length)
    if len(header) < header_length:
        return None
    length = int.from_bytes(header[layout.name_length :], layout.order)
    if layout.is_header_counted:
        length = max(0, length - header_length)
    following = at + header_length + length
    following += -(following - at) % layout.alignment
    return _Chunk(header[: layout.name_length], at + layout.name_length, at + header_length, length, following)


def _sound(
    layout: _Layout, file: IO[bytes], start: int, size: int, data: _Chunk, rate: float, frame_bytes: float
) -> tuple[Part, int | None]:
    """The part with the samples of a chunk "data", and the offset of the next file."""
    missing = data.content_at + data.length - size
    if missing <= 0 and (data.next >= size or _is_end(layout, file, data.next, size)):
        following = _next_file(layout, file, data.next, size)
        return Part(View(file, [(start, (following or size) - start)])), following
    length = size - data.content_at + (layout.name_length + 8 if layout.is_header_counted else 0)
    is_cut = data.length < UNKNOWN_FROM and missing > HEADER_TOLERANCE_S * rate * frame_bytes
    declared = int((data.length - layout.before_samples) / frame_bytes) if is_cut and frame_bytes else None
    spans: list[Span] = [
        (start, data.size_at - start),
        length.to_bytes(8, layout.order),
        (data.size_at + 8, size - data.size_at - 8),
    ]
    return Part(View(file, spans), declared, is_cut), None


def _is_end(layout: _Layout, file: IO[bytes], at: int, size: int) -> bool:
    """Whether another chunk or file begins at `at`, rather than more samples."""
    if _file_from(layout, file, at) is not None:
        return True
    chunk = _chunk(layout, file, at)
    return chunk is None or (layout.names.fullmatch(chunk.name) is not None and chunk.content_at + chunk.length <= size)


def _file_from(layout: _Layout, file: IO[bytes], at: int) -> int | None:
    """The offset of a file that begins at `at`, or after a few zeros that fill up the file before it."""
    file.seek(at)
    start = file.read(MAX_PADDING + len(layout.magic))
    zeros = start.find(layout.magic)
    return at + zeros if zeros >= 0 and not any(start[:zeros]) else None


def _next_file(layout: _Layout, file: IO[bytes], at: int, size: int) -> int | None:
    """The offset of the file that follows the chunk "data", which ends at `at`, and the chunks after it."""
    for _ in range(MAX_CHUNKS):
        if (following := _file_from(layout, file, at)) is not None:
            return following
        chunk = _chunk(layout, file, at)
        if chunk is None or not layout.names.fullmatch(chunk.name) or chunk.next >= size:
            return None
        at = chunk.next
    return None
