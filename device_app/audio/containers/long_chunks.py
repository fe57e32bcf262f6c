"""W64 and CAF, whose sizes have 64 bits: sizes that were never written, and files that are cut off."""

from __future__ import annotations

from typing import IO, Literal

from device_app.audio.containers.view import Part, View

W64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_HEADER = 40  # bytes before the first chunk
W64_CHUNK = 24  # bytes of a chunk's header, which its size includes
CAF_HEADER = 8
CAF_CHUNK = 12
UNKNOWN = (1 << 64) - 1
MAX_CHUNKS = 10_000


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """The recording, with its size as it is; None if it is neither W64 nor CAF, or has no samples."""
    magic = file.read(16)
    if magic == W64:
        return _w64(file, size)
    if magic[:4] == b"caff":
        return _caf(file, size)
    return None


def _w64(file: IO[bytes], size: int) -> list[Part] | None:
    position = W64_HEADER
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(W64_CHUNK)
        if len(header) < W64_CHUNK:
            return None
        length = int.from_bytes(header[16:], "little")
        if header[:4] == b"data":
            return [_part(file, size, position + 16, length, size - position, "little", length <= W64_CHUNK)]
        position += max(W64_CHUNK, (length + 7) // 8 * 8)
        if position >= size:  # a damaged length may be more than a file can have
            return None
    return None


def _caf(file: IO[bytes], size: int) -> list[Part] | None:
    position = CAF_HEADER
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(CAF_CHUNK)
        if len(header) < CAF_CHUNK:
            return None
        length = int.from_bytes(header[4:], "big")
        if header[:4] == b"data":
            return [_part(file, size, position + 4, length, size - position - CAF_CHUNK, "big", length == 0)]
        position += CAF_CHUNK + length
        if position >= size:  # a damaged length may be more than a file can have
            return None
    return None


def _part(
    file: IO[bytes], size: int, at: int, length: int, available: int, order: Literal["big", "little"], is_unset: bool
) -> Part:
    """The file with the size of its samples at `at` as it is, if it was never written or is too large."""
    if length <= available and not is_unset:
        return Part(View(file, [(0, size)]))
    written = available.to_bytes(8, order)
    view = View(file, [(0, at), written, (at + 8, size - at - 8)])
    return Part(view, is_cut=not is_unset and length < UNKNOWN >> 1)
