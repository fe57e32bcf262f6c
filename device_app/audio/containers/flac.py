"""FLAC files whose length is unknown or wrong, and several FLAC files joined into one."""

from __future__ import annotations

import re
from typing import IO

from device_app.audio.containers.checksum import checksum
from device_app.audio.containers.view import Part, View, find_all, skip_id3

# "fLaC" and the header of its STREAMINFO block, which is 34 bytes long, without and with the last-block flag.
LAST_BLOCK = b"fLaC\x80\x00\x00\x22"
STARTS = (b"fLaC\x00\x00\x00\x22", LAST_BLOCK)
TOTAL_SAMPLES = (
    21  # offset of the number of samples from "fLaC": 36 bits, of which the first 4 share a byte with another field
)
TAIL_BYTES = 1 << 17  # bytes at the end to search for the last frame; 4096 samples of 24-bit stereo take 24 kB
ID3V1 = 128
STREAMINFO = 42  # bytes of "fLaC" and the STREAMINFO block
BLOCK_SIZE = 8  # offset of the samples in a frame, if all have as many: 16 bits
FRAME = re.compile(rb"\xff[\xf8\xf9]")
FRAME_HEADER = 16  # bytes, at most
CHUNK = 1 << 20

_crc8 = checksum(8, 0x07)  # of a frame's header; 0 for one that includes its correct checksum
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
    header = bytearray(file.read(min(STREAMINFO, end - start)))
    if len(header) < STREAMINFO:
        return Part(View(file, [(start, end - start)]), is_cut=True)
    total = int.from_bytes(header[TOTAL_SAMPLES : TOTAL_SAMPLES + 5], "big") & 0xF_FFFF_FFFF
    # Without a sample count, the decoder reads to the end of the file.
    header[TOTAL_SAMPLES] &= 0xF0
    header[TOTAL_SAMPLES + 1 : TOTAL_SAMPLES + 5] = bytes(4)
    view = View(file, [bytes(header), (start + STREAMINFO, end - start - STREAMINFO)])
    is_cut = not total and not _ends_with_a_frame(file, start + STREAMINFO, end)
    return Part(view, declared=total or None, is_cut=is_cut)


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


def after_damage(part: Part, sample: int) -> Part | None:
    """What follows damaged frames, which stop the decoder.

    Args:
        part: a stream in which the decoder failed.
        sample: the number of the first sample that it could not decode, from the start of the recording.

    Returns:
        The stream from the next frame whose header is intact; None if the part is no FLAC, or there is no such frame.
    """
    stream = part.file
    stream.seek(0)
    header = stream.read(STREAMINFO) or b""
    if len(header) < STREAMINFO or not header.startswith(b"fLaC"):
        return None
    block_size = int.from_bytes(header[BLOCK_SIZE : BLOCK_SIZE + 2], "big")
    size = stream.seek(0, 2)
    for origin in range(STREAMINFO, size, CHUNK):
        stream.seek(origin)
        data = stream.read(CHUNK + FRAME_HEADER) or b""
        for match in FRAME.finditer(data, 0, CHUNK + 1):
            first = _first_sample(data[match.start() : match.start() + FRAME_HEADER], block_size)
            if first is not None and first > sample:
                at = origin + match.start()
                rest = View(stream, [LAST_BLOCK + header[len(LAST_BLOCK) :], (at, size - at)])
                return Part(rest, first=first)
    return None


def _first_sample(header: bytes, block_size: int) -> int | None:
    """The number of a frame's first sample by its header; None if its checksum is wrong."""
    if len(header) < 6 or header[2] >> 4 == 0 or header[2] & 15 == 15 or header[3] & 1:
        return None
    more = max(0, 8 - (header[4] ^ 0xFF).bit_length() - 1)  # bytes that follow the first of the number, as in UTF-8
    number = header[4] & (0x7F >> more if more else 0x7F)
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    length = 5 + more + {6: 1, 7: 2}.get(header[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0) + 1
    if len(header) < length or _crc8(header[:length]):
        return None
    return number if header[1] & 1 else number * block_size
