"""FLAC files whose length is unknown or wrong, several FLAC files joined into one, and damage within a stream.

Offsets and codes are those of RFC 9639, sections 8.2 (STREAMINFO) and 9.1 (frame header).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from device_app.audio.containers.checksum import checksum, zero_suffixes
from device_app.audio.containers.view import Part, View, skip_id3

# "fLaC" and the header of the STREAMINFO block, which is 34 bytes long, without or with the last-block flag.
STREAM_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
LAST_BLOCK = b"fLaC\x80\x00\x00\x22"
HEADER_BYTES = 42  # "fLaC" and the STREAMINFO block
# Offsets in bytes from "fLaC".
MIN_BLOCK_SIZE_AT = 8  # 16 bits, samples per channel in a frame; the last frame may have fewer
MAX_BLOCK_SIZE_AT = 10  # 16 bits; the same as the minimum in a stream of fixed block size
RATE_AT = 18  # 20 bits, then 3 bits of channels - 1, 5 bits of bits per sample - 1
TOTAL_SAMPLES_AT = 21  # 36 bits, of which the first 4 share a byte with another field; 0 is unknown

FRAME_SYNC = re.compile(rb"\xff[\xf8\xf9]")  # the last bit: whether block sizes vary
MAX_FRAME_HEADER_BYTES = 16
TAIL_BYTES = 1 << 17  # searched at the end for the last frame; one of 4096 samples of 24-bit stereo takes 24 kB
ID3V1_BYTES = 128
CHUNK = 1 << 16  # bytes read at a time; where a read fails, only so many are not searched

# What the codes of a frame header mean.
RATES = dict(enumerate((88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000), start=1))
RATE_OF_STREAM, INVALID_RATE = 0, 15
RATE_FIELDS = {12: (1, 1000), 13: (2, 1), 14: (2, 10)}  # bytes of a field before the checksum, and its unit in Hz
SAMPLE_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
SAMPLE_BITS_OF_STREAM = 0
RESERVED_BLOCK_SIZE = 0
BLOCK_SIZE_FIELD_BYTES = {6: 1, 7: 2}
RESERVED_CHANNELS = 11  # and above

_crc8 = checksum(8, 0x07)  # of a frame's header; 0 for one that includes its correct checksum
_frame_candidates = zero_suffixes(0x8005)  # where a frame may begin that ends with its checksum


@dataclass(frozen=True)
class _StreamInfo:
    """What all frames of a stream have in common.

    Attributes:
        block_size: samples per channel of the largest frame.
        is_fixed: whether all frames but the last have as many samples.
        rate: in Hz.
        bits: per sample.
    """

    block_size: int
    is_fixed: bool
    rate: int
    channels: int
    bits: int


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each FLAC stream in the file; None if it does not begin with one."""
    begin = skip_id3(file, 0)
    file.seek(begin)
    if file.read(4) != b"fLaC":
        return None
    # The first stream counts even if its header is damaged, so that the pattern does not match.
    starts = sorted({begin, *(at for at, _ in _matches(file, STREAM_START, begin, size, len(LAST_BLOCK)))})
    return [_part(file, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


def _part(file: IO[bytes], start: int, end: int) -> Part:
    """The stream between two offsets, with a header that does not declare the number of samples."""
    file.seek(max(start, end - ID3V1_BYTES))
    if file.read(3) == b"TAG":
        end -= ID3V1_BYTES
    file.seek(start)
    header = bytearray(file.read(min(HEADER_BYTES, end - start)))
    if len(header) < HEADER_BYTES:
        return Part(View(file, [(start, end - start)]), is_cut=True)
    total = int.from_bytes(header[TOTAL_SAMPLES_AT : TOTAL_SAMPLES_AT + 5], "big") & 0xF_FFFF_FFFF
    # Without a sample count, the decoder reads to the end of the file.
    header[TOTAL_SAMPLES_AT] &= 0xF0
    header[TOTAL_SAMPLES_AT + 1 : TOTAL_SAMPLES_AT + 5] = bytes(4)
    view = View(file, [bytes(header), (start + HEADER_BYTES, end - start - HEADER_BYTES)])
    is_cut = not total and not _ends_with_a_frame(file, start + HEADER_BYTES, end)
    return Part(view, declared=total or None, is_cut=is_cut)


def _ends_with_a_frame(file: IO[bytes], start: int, end: int) -> bool:
    """Whether the last bytes are a whole frame, by its checksum: the only evidence if the length is unknown."""
    file.seek(max(start, end - TAIL_BYTES))
    tail = file.read(end - file.tell())
    return any(FRAME_SYNC.match(tail, at) for at in _frame_candidates(tail))


def after_damage(part: Part, sample: int) -> Part | None:
    """What follows damaged frames, which stop the decoder.

    Args:
        part: a stream in which the decoder failed.
        sample: index of the first sample that it could not decode, within this FLAC stream, per channel.

    Returns:
        The stream from the next frame whose header is intact; None if the part is no FLAC, or there is no such frame.
    """
    stream = part.file
    stream.seek(0)
    header = stream.read(HEADER_BYTES) or b""
    if len(header) < HEADER_BYTES or not header.startswith(b"fLaC"):
        return None
    info = _stream_info(header)
    end = None if part.declared is None else part.first + part.declared
    for at, frame in _matches(stream, FRAME_SYNC, HEADER_BYTES, stream.seek(0, 2), MAX_FRAME_HEADER_BYTES):
        first = _first_sample(frame, info)
        if first is not None and first > sample and (end is None or first < end):
            rest = stream.following(at, LAST_BLOCK + header[len(LAST_BLOCK) :])
            return Part(rest, declared=None if end is None else end - first, first=first)
    return None


def _matches(
    file: IO[bytes] | View, pattern: re.Pattern[bytes], start: int, end: int, most: int
) -> Iterator[tuple[int, bytes]]:
    """Where a pattern is found from `start` to `end`; reads the file in chunks.

    Args:
        file: seekable; its position changes.
        pattern: of at most `most` bytes.
        start, end: offsets in bytes in the file.
        most: bytes to return of each place, fewer at the end.

    Yields:
        The offset, and the bytes from there.
    """
    for origin in range(start, end, CHUNK):
        file.seek(origin)
        data = file.read(min(CHUNK + most, end - origin)) or b""
        for match in pattern.finditer(data):
            if match.start() >= CHUNK:  # the next chunk has it too
                break
            yield origin + match.start(), data[match.start() : match.start() + most]


def _stream_info(header: bytes) -> _StreamInfo:
    smallest, largest = (int.from_bytes(header[at : at + 2], "big") for at in (MIN_BLOCK_SIZE_AT, MAX_BLOCK_SIZE_AT))
    fields = int.from_bytes(header[RATE_AT : RATE_AT + 4], "big")
    return _StreamInfo(
        block_size=largest,
        is_fixed=smallest == largest,
        rate=fields >> 12,
        channels=(fields >> 9 & 7) + 1,
        bits=(fields >> 4 & 31) + 1,
    )


def _first_sample(header: bytes, info: _StreamInfo) -> int | None:
    """Index per channel of a frame's first sample by its header; None if it is no intact header of this stream.

    Two bytes and a checksum of eight bits are found by chance in every few megabytes, so all fields are compared.
    """
    if len(header) < 6 or not _is_of_stream(header, info):
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    number, at = _coded_number(header, 4)
    rate_at = at + BLOCK_SIZE_FIELD_BYTES.get(size_code, 0)
    crc_at = rate_at + RATE_FIELDS.get(rate_code, (0, 0))[0]
    if number is None or len(header) <= crc_at or _crc8(header[: crc_at + 1]):
        return None
    has_rate = rate_code == RATE_OF_STREAM or _rate(rate_code, header[rate_at:crc_at]) == info.rate
    if not has_rate or _block_size(size_code, header[at:rate_at]) > info.block_size:
        return None
    return number * info.block_size if info.is_fixed else number


def _is_of_stream(header: bytes, info: _StreamInfo) -> bool:
    """Whether the first four bytes of a frame have no reserved code, and the channels and sample size of the stream."""
    size_code, rate_code, bits_code = header[2] >> 4, header[2] & 15, header[3] >> 1 & 7
    if header[1] & 1 == info.is_fixed or size_code == RESERVED_BLOCK_SIZE or rate_code == INVALID_RATE or header[3] & 1:
        return False
    channels_code = header[3] >> 4
    channels = channels_code + 1 if channels_code < 8 else 2  # from 8: one channel is a difference or an average
    has_bits = bits_code == SAMPLE_BITS_OF_STREAM or SAMPLE_BITS.get(bits_code) == info.bits
    return channels_code < RESERVED_CHANNELS and channels == info.channels and has_bits


def _block_size(code: int, field: bytes) -> int:
    """Samples per channel in a frame, from the code and the field for sizes without a code."""
    if field:
        return int.from_bytes(field, "big") + 1
    if code == 1:
        return 192
    return 576 << (code - 2) if code < 6 else 1 << code


def _rate(code: int, field: bytes) -> int:
    """Sampling rate in Hz, from the code and the field for rates without a code."""
    return int.from_bytes(field, "big") * RATE_FIELDS[code][1] if field else RATES[code]


def _coded_number(header: bytes, at: int) -> tuple[int | None, int]:
    """A number coded as UTF-8 codes characters, with up to 36 bits, and the offset after it; None if it is invalid."""
    ones = 8 - (header[at] ^ 0xFF).bit_length()  # leading ones of the first byte: the bytes of the number, if over 1
    if ones in (1, 8):
        return None, at
    continuation = header[at + 1 : at + max(1, ones)]
    if any(byte >> 6 != 0b10 for byte in continuation):
        return None, at
    number = header[at] & 0x7F >> ones
    for byte in continuation:
        number = number << 6 | byte & 0x3F
    return number, at + 1 + len(continuation)
