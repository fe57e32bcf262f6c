"""WAV (RIFF, RIFX, RF64), AIFF and 8SVX files whose sizes are missing or wrong, and several files joined into one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from device_app.audio.containers.view import HEADER_TOLERANCE_S, TAGS, UNKNOWN_FROM, Part, Span, View

Order = Literal["big", "little"]
ORDERS: dict[bytes, Order] = {b"RIFF": "little", b"RF64": "little", b"BW64": "little", b"RIFX": "big", b"FORM": "big"}
SVX_WIDTHS = {b"8SVX": 1, b"16SV": 2}  # bytes of a sample
KINDS = (b"WAVE", b"AIFF", b"AIFC", *SVX_WIDTHS)
CHUNK_NAME = re.compile(rb"[A-Za-z0-9_\- .(\xa9][A-Za-z0-9_\- .)]{3}")
UNCOMPRESSED_WAV = (b"\1\0", b"\3\0", b"\xfe\xff", b"\0\1", b"\0\3", b"\xff\xfe")  # PCM, float, extensible; both orders
AFTER_SAMPLES = (b"data", b"LIST", b"bext", b"id3 ", b"ID3 ", b"JUNK", b"cue ", b"fact", b"smpl", b"iXML")
UNKNOWN_64_FROM = 1 << 62  # as `UNKNOWN_FROM`, for sizes of 64 bits
RIFF_LIMIT = 0xFFFFFF00  # most bytes of samples that 32-bit sizes can describe; RF64 has 64-bit sizes
MAX_HEADER_BYTES = 100  # some programs count the header among the samples
MAX_CHUNKS = 10_000
# AIFF compression types: companded samples take one byte; uncompressed ones have the width that is declared.
COMPANDED = (b"ulaw", b"alaw", b"ULAW", b"ALAW")
UNCOMPRESSED = (
    b"NONE",
    b"sowt",
    b"twos",
    b"in24",
    b"in32",
    b"42ni",
    b"23ni",
    b"fl32",
    b"FL32",
    b"fl64",
    b"FL64",
    b"raw ",
)


@dataclass(frozen=True)
class _Sound:
    """The chunk with the samples.

    Attributes:
        start: offset in bytes of the samples in the file.
        declared: bytes of samples, according to the chunk's header.
        byte_rate: bytes of samples per second; 0 if it is not known.
        sample_rate: in Hz; 0 if it is not known.
        unknown_from: a declared length of so many bytes or more means "unknown".
        frame_bytes: bytes of one sample of all channels, or of a block of compressed ones; 1 if it is not known.
    """

    start: int
    declared: int
    byte_rate: float
    sample_rate: float
    unknown_from: int = UNKNOWN_FROM
    frame_bytes: int = 1


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each WAV, AIFF or 8SVX file in `file`; None if it begins with none, or with one without samples."""
    found = []
    start: int | None = 0
    while start is not None:
        file.seek(start)
        header = file.read(12)
        if header[:4] not in ORDERS or header[8:12] not in KINDS:
            break
        read = _read_form if header[:4] == b"FORM" else _read_riff
        result = read(file, start, size, header)
        if result is None:
            break
        part, start = result
        found.append(part)
    return found or None


def _read_riff(file: IO[bytes], start: int, size: int, header: bytes) -> tuple[Part, int | None] | None:
    """The WAV file at `start`, and the offset of the file that is joined to it (None if there is none).

    None if it has no samples.
    """
    order = ORDERS[header[:4]]
    description, long_size, samples = b"", None, 0
    for name, at, length in _chunks(file, start + 12, size, order):
        if name == b"ds64":
            file.seek(at + 8)
            long_size = int.from_bytes(file.read(8), "little")
        elif name == b"fmt ":
            file.seek(at)
            description = file.read(min(length, 1024))
        elif name == b"fact":
            file.seek(at)
            samples = int.from_bytes(file.read(4), order)
        elif name == b"data":
            if len(description) < 14:
                return None
            if long_size is not None and length == 0xFFFFFFFF:
                length = long_size
            rate, byte_rate = (int.from_bytes(description[i : i + 4], order) for i in (4, 8))
            unknown_from = UNKNOWN_FROM if long_size is None else UNKNOWN_64_FROM
            frame_bytes = max(1, int.from_bytes(description[12:14], order))
            end, is_cut = _end(file, _Sound(at, length, byte_rate, rate, unknown_from, frame_bytes), size, order)
            more, following = _after_samples(file, min(end, size), size, order)
            if more:
                return _several_data_chunks(file, header[:4], description, [(at, length), *more], size), following
            declared = round(length / byte_rate * rate) if is_cut and byte_rate else None
            if declared and samples and description[:2] not in UNCOMPRESSED_WAV:  # the byte rate may be approximate
                declared = samples
            if end == at + length:
                spans: list[Span] = [(start, min(end, size) - start)]
            else:
                spans = [riff_header(header[:4], description, end - at, order), (at, end - at)]
            return Part(View(file, spans), declared, is_cut), following
    return None


def _several_data_chunks(
    file: IO[bytes], magic: bytes, description: bytes, chunks: Sequence[tuple[int, int]], size: int
) -> Part:
    """One stream of the samples of all "data" chunks (offset and length in bytes).

    libsndfile reads the first alone, or refuses the file.
    """
    order = ORDERS[magic]
    rate, byte_rate = (int.from_bytes(description[i : i + 4], order) for i in (4, 8))
    block = max(1, int.from_bytes(description[12:14], order))
    last, length = chunks[-1]
    end, is_cut = _end(file, _Sound(last, length, byte_rate, rate), size, order)
    lengths = [*(length for _, length in chunks[:-1]), end - last]
    spans: list[Span] = [(at, length // block * block) for (at, _), length in zip(chunks, lengths, strict=True)]
    total = sum(length for _, length in chunks)
    declared = round(total / byte_rate * rate) if is_cut and byte_rate else None
    present = sum(length for _, length in spans)
    return Part(View(file, [riff_header(magic, description, present, order), *spans]), declared, is_cut)


def riff_header(magic: bytes, description: bytes, length: int, order: Order) -> bytes:
    """What precedes the samples of a WAV file.

    Args:
        magic: the first four bytes of the file that is described; the result's differ if the length needs it.
        description: the content of the chunk "fmt ".
        length: bytes of samples.
        order: of the bytes in numbers.
    """
    form_chunk = b"fmt " + len(description).to_bytes(4, order) + description + bytes(len(description) % 2)
    if length <= RIFF_LIMIT - len(form_chunk):
        magic = b"RIFX" if magic == b"RIFX" else b"RIFF"
        total = 4 + len(form_chunk) + 8 + length + length % 2
        return magic + total.to_bytes(4, order) + b"WAVE" + form_chunk + b"data" + length.to_bytes(4, order)
    unknown = b"\xff" * 4
    block = max(1, int.from_bytes(description[12:14], "little"))
    sizes = (36 + len(form_chunk) + 12 + length, length, length // block)
    long_sizes = b"".join(value.to_bytes(8, "little") for value in sizes) + bytes(4)
    ds64 = b"ds64" + len(long_sizes).to_bytes(4, "little") + long_sizes
    return b"RF64" + unknown + b"WAVE" + ds64 + form_chunk + b"data" + unknown


def _read_form(file: IO[bytes], start: int, size: int, header: bytes) -> tuple[Part, int | None] | None:
    """As `_read_riff`, for the AIFF or 8SVX file at `start`, a FORM chunk."""
    common = samples = None
    for name, at, length in _chunks(file, start + 12, size, "big"):
        if name in (b"COMM", b"VHDR") and common is None:
            file.seek(at)
            common = file.read(min(length, 1024))
        elif name in (b"SSND", b"BODY") and samples is None:
            samples = at, length
        if (common and samples) or name in ORDERS:  # the latter is the next file
            break
    if samples is None:
        return None
    if header[8:12] in SVX_WIDTHS:
        return _part_as_it_is(file, start, size, _svx_sound(*samples, header[8:12], common or b""))
    common = common or b""
    frame_bytes = _aiff_frame_bytes(common, header[8:12])
    if not frame_bytes:  # compressed, or its chunk COMM is missing
        return _part_as_it_is(file, start, size, _Sound(*samples, 0, 0))
    return _uncompressed_aiff(file, size, header[8:12], common, frame_bytes, *samples)


def _svx_sound(at: int, length: int, kind: bytes, header: bytes) -> _Sound:
    rate = int.from_bytes(header[12:14], "big")
    return _Sound(at, length, rate * SVX_WIDTHS[kind], rate)


def _part_as_it_is(file: IO[bytes], start: int, size: int, sound: _Sound) -> tuple[Part, int | None]:
    """A part with its own header, whose sizes libsndfile corrects, and the offset of the next file."""
    end, is_cut = _end(file, sound, size, "big")
    following = _next_file(file, end, size, "big")
    declared = round(sound.declared / sound.byte_rate * sound.sample_rate) if is_cut and sound.byte_rate else None
    return Part(View(file, [(start, (following or size) - start)]), declared, is_cut), following


def _uncompressed_aiff(
    file: IO[bytes], size: int, kind: bytes, common: bytes, frame_bytes: int, at: int, length: int
) -> tuple[Part, int | None]:
    """A part with a new header that declares the actual number of samples, and the offset of the next file."""
    rate = _extended(common[8:18])
    frames = int.from_bytes(common[2:6], "big")
    file.seek(at)
    offset = int.from_bytes(file.read(4), "big")
    first = at + 8 + (offset if offset < 1 << 16 else 0)
    declared = max(length - (first - at), 0) if length else frames * frame_bytes
    sound = _Sound(first, declared, rate * frame_bytes, rate)
    end, is_cut = _end(file, sound, size, "big")
    if not is_cut and frames * frame_bytes < UNKNOWN_FROM:
        is_cut = frames * frame_bytes - (end - first) > HEADER_TOLERANCE_S * rate * frame_bytes
    count = max(end - first, 0) // frame_bytes  # a damaged offset may lead behind the end
    declared_frames = max(frames, declared // frame_bytes) if is_cut else None
    spans: list[Span] = [_aiff_header(kind, common, count, count * frame_bytes), (first, count * frame_bytes)]
    return Part(View(file, spans), declared_frames, is_cut), _next_file(file, min(end, size), size, "big")


def _aiff_frame_bytes(common: bytes, kind: bytes) -> int:
    """Bytes of one sample of all channels, by the COMM chunk; 0 if it is missing, or the samples are compressed."""
    if len(common) < 18:
        return 0
    channels, bits = int.from_bytes(common[:2], "big"), int.from_bytes(common[6:8], "big")
    if kind == b"AIFC" and common[18:22] in COMPANDED:
        return channels
    if kind == b"AIFC" and common[18:22] not in UNCOMPRESSED:
        return 0
    return channels * ((bits + 7) // 8)


def _aiff_header(kind: bytes, common: bytes, frames: int, length: int) -> bytes:
    common = common[:2] + min(frames, 0xFFFFFFFF).to_bytes(4, "big") + common[6:]
    body = b"COMM" + len(common).to_bytes(4, "big") + common + bytes(len(common) % 2)
    body += b"SSND" + min(8 + length, 0xFFFFFFFF).to_bytes(4, "big") + bytes(8)
    return b"FORM" + min(4 + len(body) + length, 0xFFFFFFFF).to_bytes(4, "big") + kind + body


def _extended(data: bytes) -> float:
    """An 80-bit floating-point number, as AIFF writes the sampling rate."""
    exponent = int.from_bytes(data[:2], "big") & 0x7FFF
    if not 16383 <= exponent <= 16383 + 40:
        return 0.0
    return int.from_bytes(data[2:10], "big") / 2.0 ** (63 - (exponent - 16383))


def _chunks(file: IO[bytes], position: int, size: int, order: Order) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset of the content, and length of each chunk."""
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            return
        length = int.from_bytes(header[4:], order)
        yield header[:4], position + 8, length
        position += 8 + length + length % 2
        if position >= size:
            return


def _end(file: IO[bytes], sound: _Sound, size: int, order: Order) -> tuple[int, bool]:
    """The offset in bytes where the samples really end, and whether some are missing."""
    end = sound.start + sound.declared
    if end > size:
        missing = end - size
        # If bytes were lost in the middle, samples after that are noise, unless whole ones were lost.
        is_shifted = missing > MAX_HEADER_BYTES and missing % sound.frame_bytes > 0
        tolerated = missing <= HEADER_TOLERANCE_S * sound.byte_rate and not is_shifted
        return size, sound.declared < sound.unknown_from and not tolerated
    if end == size or _is_end(file, end, size, order):
        return end, False
    return size, False  # the recorder was killed, or wrote the length before the remaining samples


def _is_end(file: IO[bytes], end: int, size: int, order: Order) -> bool:
    """Whether another chunk, tag or file begins at `end`, rather than more samples."""
    for at in (end, end + 1) if end % 2 else (end,):  # chunks begin at even offsets, but some writers do not fill up
        file.seek(at)
        header = file.read(12)
        if header[:3] in TAGS or (header[:4] in ORDERS and header[8:12] in KINDS):
            return True
        if size - at < 8:  # too few bytes for a chunk
            return True
        if not any(header):  # silence
            return False
        if header[:4] in AFTER_SAMPLES:  # however long it says it is: the file may be cut off there
            return True
        if CHUNK_NAME.fullmatch(header[:4]) and at + 8 + int.from_bytes(header[4:8], order) <= size + 1:
            return True
    return False


def _next_file(file: IO[bytes], end: int, size: int, order: Order) -> int | None:
    return _after_samples(file, end, size, order)[1]


def _after_samples(file: IO[bytes], end: int, size: int, order: Order) -> tuple[list[tuple[int, int]], int | None]:
    """What follows the first samples of a file, which end at `end`.

    Returns:
        Offset and length in bytes of each further chunk "data", and the offset of a file that is joined to the end of
        this one or of its last chunk; None if there is none.
    """
    samples: list[tuple[int, int]] = []
    position = end
    for _ in range(MAX_CHUNKS):
        for at in (position, position + 1):
            file.seek(at)
            header = file.read(12)
            if header[:4] in ORDERS and header[8:12] in KINDS:
                return samples, at
        position += position % 2
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or not CHUNK_NAME.fullmatch(header[:4]):
            break
        length = int.from_bytes(header[4:], order)
        if header[:4] == b"data":
            samples.append((position + 8, length))
        position += 8 + length
        if position >= size:
            break
    return samples, None
