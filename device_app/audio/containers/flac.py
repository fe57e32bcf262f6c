"""FLAC files whose length is unknown or wrong, and several FLAC files joined into one."""

from __future__ import annotations

from typing import IO

from device_app.audio.containers.checksum import checksum
from device_app.audio.containers.view import Part, View, find_all, skip_id3

# "fLaC" and the header of its STREAMINFO block, which is 34 bytes long, without and with the last-block flag.
STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
TOTAL_SAMPLES = (
    21  # offset of the number of samples from "fLaC": 36 bits, of which the first 4 share a byte with another field
)
TAIL_BYTES = 1 << 17  # bytes at the end to search for the last frame; 4096 samples of 24-bit stereo take 24 kB
ID3V1 = 128

_crc16 = checksum(16, 0x8005)  # of a frame; 0 for a frame that includes its correct checksum


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each FLAC stream in the file; None if it does not begin with one."""
    begin = skip_id3(file, 0)
    file.seek(begin)
    if file.read(4) != b"fLaC":
        return None
    starts = [at for at in find_all(file, STARTS, begin, size) if at >= begin] or [begin]
    starts[0] = begin
    return [_part(file, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def _part(file: IO[bytes], start: int, end: int) -> Part:
    file.seek(max(start, end - ID3V1))
    if file.read(3) == b"TAG":
        end -= ID3V1
    file.seek(start)
    header = bytearray(file.read(min(42, end - start)))
    if len(header) < 42:
        return Part(View(file, [(start, end - start)]), is_cut=True)
    total = int.from_bytes(header[TOTAL_SAMPLES : TOTAL_SAMPLES + 5], "big") & 0xF_FFFF_FFFF
    # Without a sample count, the decoder reads to the end of the file.
    header[TOTAL_SAMPLES] &= 0xF0
    header[TOTAL_SAMPLES + 1 : TOTAL_SAMPLES + 5] = bytes(4)
    view = View(file, [bytes(header), (start + 42, end - start - 42)])
    return Part(view, declared=total or None, is_cut=not total and not _ends_with_a_frame(file, start + 42, end))


def _ends_with_a_frame(file: IO[bytes], start: int, end: int) -> bool:
    """Whether the last bytes are a whole frame, by its checksum: the only evidence if the length is unknown."""
    file.seek(max(start, end - TAIL_BYTES))
    tail = file.read(end - file.tell())
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9") and _crc16(tail[at:]) == 0:
            return True
        if len(tail) - at > TAIL_BYTES:
            break
    return False
