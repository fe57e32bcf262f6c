"""MPEG audio (MP3): joined files, a missing or wrong count of frames, large tags, and frames that are cut off.

libmpg123 takes the length from a Xing header, or else guesses it from the size of the file and its first frame.
Here the frames are counted, and what is no frame (tags, junk) is left out, so there is nothing to guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import IO, NamedTuple

from device_app.audio.containers.view import HEADER_TOLERANCE_S, ID3V1_BYTES, TAGS, Part, Span, View, skip_id3

CHUNK = 1 << 20  # bytes read at a time
MAX_FRAME = 8192  # bytes; more than any has
JUNK_BEFORE = 1 << 16  # bytes in which the first frame must begin
# Frames that must follow each other after junk. Files of other formats have up to five by chance: 32-bit samples look
# like frames of layer I, which are short.
FRAMES_AFTER_JUNK = 12
APE_HEADER_BYTES = 32
FRAME_START_BYTES = 200  # bytes read of each frame; a complete Info and LAME tag needs at most 182
DECODER_DELAY = 529  # samples, of layer III

# In kbit/s, by the bit-rate code: 0 is a free bit rate.
_V1_L1 = (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448)
_V1_L2 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V1_L3 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V2_L1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_V2_L23 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the bits of the version


class _Format(NamedTuple):
    """What all frames of a stream have in common: codes of their headers (see `_parse`), and whether it is mono."""

    version: int
    layer: int
    rate: int  # index in the version's list of `_RATES`
    is_mono: bool


class _Frame(NamedTuple):
    format: _Format
    length: int  # bytes
    samples: int  # per channel


@dataclass
class _Stream:
    """Consecutive frames of one format.

    Attributes:
        samples_per_frame: per channel.
        header: the first 4 bytes of the first frame.
        spans: offset and length in bytes of each run of frames with nothing between them.
        info: offset and length in bytes of the Xing, Info or VBRI frame, which has no sound; None if there is none.
        declared_frames: number of frames that this frame declares; None if it does not.
        frames: number of frames with sound.
        lost: number of frames that holes between the spans had room for.
        trimmed: samples of the encoder's delay and padding that this frame declares; libmpg123 drops them.
        is_cut: the last frame is incomplete, and no declared number says how many are missing.
    """

    format: _Format
    samples_per_frame: int
    header: bytes
    spans: list[list[int]] = field(default_factory=list)
    frames: int = 0
    lost: int = 0
    info: tuple[int, int] | None = None
    declared_frames: int | None = None
    trimmed: int = 0
    is_cut: bool = False


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each MPEG stream; None if there is none, or its frames have no length (free format)."""
    start = _first_frame(file, skip_id3(file, 0), size)
    if start is None:
        return None
    streams: list[_Stream] = []
    for position, header, frame, is_whole in _frames(file, start, size):
        count = _frame_count(header)
        if not is_whole:
            if streams and streams[-1].declared_frames is None:
                streams[-1].is_cut = True
            break
        if not streams or frame.format != streams[-1].format or count is not None:
            streams.append(_Stream(frame.format, frame.samples, header[:4]))
        if count is not None:
            streams[-1].info, streams[-1].declared_frames = (position, frame.length), count or None
            streams[-1].trimmed = _trimmed(header, frame.format)
            continue
        stream = streams[-1]
        stream.frames += 1
        if stream.spans and sum(stream.spans[-1]) == position:
            stream.spans[-1][1] += frame.length
        else:
            stream.lost += _lost_frames(file, stream, position)
            stream.spans.append([position, frame.length])
    return [_part(file, stream) for stream in streams if stream.frames] or None


def _lost_frames(file: IO[bytes], stream: _Stream, position: int) -> int:
    """How many frames were between the last span and this offset, if what is there now is a hole and not a tag.

    A short gap, of less than `HEADER_TOLERANCE_S`, is a damaged header or the metadata of a radio station.
    """
    if not stream.spans:
        return 0
    end = sum(stream.spans[-1])
    file.seek(end)
    if file.read(3) in TAGS:
        return 0
    frame_bytes = sum(length for _, length in stream.spans) / (stream.frames - 1)  # the one at `position` is counted
    lost = int((position - end) / frame_bytes)
    rate = _RATES[stream.format.version][stream.format.rate]
    return lost if lost * stream.samples_per_frame >= HEADER_TOLERANCE_S * rate else 0


def _part(file: IO[bytes], stream: _Stream) -> Part:
    spans = [(start, length) for start, length in stream.spans]
    expected = stream.declared_frames or stream.frames + stream.lost
    declared_frames = expected if expected > stream.frames else None
    # A count that is too small would make libmpg123 stop early, so it is replaced. One that is too large is harmless,
    # and says what is missing.
    has_count = stream.declared_frames is not None and stream.declared_frames >= stream.frames
    if stream.info is not None and has_count and stream.trimmed < stream.frames * stream.samples_per_frame:
        first: Span = stream.info
        trimmed = stream.trimmed
    else:
        first = _info_frame(stream)
        trimmed = 0
    declared = None if declared_frames is None else declared_frames * stream.samples_per_frame
    samples = stream.frames * stream.samples_per_frame - trimmed
    return Part(View(file, [first, *spans]), declared, stream.is_cut, samples, may_use_mpg123=True)


def _info_frame(stream: _Stream) -> bytes:
    """An Info frame with the count of frames, as encoders put it first, and a silent frame after it.

    libmpg123 drops the encoder's delay and DECODER_DELAY samples. The delay written here makes that exactly one frame,
    which is the silent one, so no sample of the file is dropped.
    """
    if stream.format.layer != 1:  # libmpg123 looks for it in layer III only
        return b""
    head = stream.header
    silent = bytes([head[0], head[1] | 1, head[2], head[3]])  # without a checksum
    info = bytes([head[0], head[1] | 1, 0xE0 | head[2] & 0x0F, head[3]])  # of the highest bit rate, for its size
    silent_frame, info_frame = _parse(silent), _parse(info)
    if silent_frame is None or info_frame is None:
        return b""
    # Flags: 1 is the count of frames. LAME tag: 9 bytes of name, 12 of settings, then 12 bits of delay, 12 of padding.
    body = info + bytes(_side_information_bytes(stream.format)) + b"Info" + (1).to_bytes(4, "big")
    body += (stream.frames + 1).to_bytes(4, "big") + b"LAME3.100" + bytes(12)
    body += ((stream.samples_per_frame - DECODER_DELAY) << 12).to_bytes(3, "big")
    return body.ljust(info_frame.length, b"\0") + silent.ljust(silent_frame.length, b"\0")


def _side_information_bytes(stream_format: _Format) -> int:
    """Bytes of side information, which follows the header in layer III, by ISO/IEC 11172-3 and 13818-3."""
    if stream_format.version == 3:
        return 17 if stream_format.is_mono else 32
    return 9 if stream_format.is_mono else 17


def _frame_count(frame: bytes) -> int | None:
    """The count of frames in a Xing, Info or VBRI header, 0 if it has none; None if the frame is not such a header."""
    if b"Xing" not in frame and b"Info" not in frame and b"VBRI" not in frame:
        return None
    parsed = _parse(frame)
    if parsed is None:
        return None
    for offset in (4, 6):  # after a checksum of 2 bytes
        at = offset + _side_information_bytes(parsed.format)
        if frame[at : at + 4] in (b"Xing", b"Info"):
            has_count = frame[at + 7 : at + 8] and frame[at + 7] & 1
            return int.from_bytes(frame[at + 8 : at + 12], "big") if has_count else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big")
    return None


def _trimmed(frame: bytes, stream_format: _Format) -> int:
    """Samples of the encoder's delay and padding, from what LAME and others add to an Info header."""
    for offset in (4, 6):
        at = offset + _side_information_bytes(stream_format)
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags = frame[at + 7] if len(frame) > at + 7 else 0
            # Number of frames, of bytes, table of contents, quality; then 21 bytes of the encoder and its settings.
            at += 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1) + 21
            delays = int.from_bytes(frame[at : at + 3], "big")
            return (delays >> 12) + (delays & 0xFFF)
    return 0


def _parse(header: bytes) -> _Frame | None:
    """A frame by its header of 4 bytes; None if it is none, or of a free bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    # Version 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5, 1 reserved; layer 3 is I, 2 is II, 1 is III, 0 reserved; bit rate 0 is
    # free, 15 invalid.
    if version == 1 or layer == 0 or bit_rate in (0, 15) or rate == 3:
        return None
    if version == 3:
        kilobits = (_V1_L3, _V1_L2, _V1_L1)[layer - 1][bit_rate]
    else:
        kilobits = (_V2_L23, _V2_L23, _V2_L1)[layer - 1][bit_rate]
    hertz = _RATES[version][rate]
    frame_format = _Format(version, layer, rate, header[3] >> 6 == 3)
    if layer == 3:
        return _Frame(frame_format, (12_000 * kilobits // hertz + padding) * 4, 384)
    samples = 576 if layer == 1 and version != 3 else 1152
    return _Frame(frame_format, samples // 8 * kilobits * 1000 // hertz + padding, samples)


def _first_frame(file: IO[bytes], start: int, size: int) -> int | None:
    """Offset of the first frame that others follow; None if there is none in the first `JUNK_BEFORE` bytes."""
    file.seek(start)
    data = file.read(JUNK_BEFORE + 4 * MAX_FRAME)
    at = data.find(b"\xff")
    while 0 <= at < JUNK_BEFORE:
        is_long_row = next(islice(_row(data, at), FRAMES_AFTER_JUNK - 1, None), None) is not None
        if is_long_row or (at == 0 and _is_start(data, at, size - start)):
            return start + at
        at = data.find(b"\xff", at + 1)
    return None


def _row(data: bytes, at: int) -> Iterator[int]:
    """The ends of the frames of one format that follow each other from `at`."""
    common = None
    while (frame := _parse(data[at : at + 4])) is not None and common in (None, frame.format):
        common = frame.format
        at += frame.length
        yield at


def _is_start(data: bytes, at: int, size: int) -> bool:
    """Whether three frames of one format follow each other, or as many as there are until the end or an ID3v1 tag."""
    count = 0
    for count, end in enumerate(islice(_row(data, at), 3), 1):
        at = end
        if at >= size:
            return count > 1 or at == size
    return count == 3 or (count > 0 and data[at : at + 3] == b"TAG")


def _frames(file: IO[bytes], position: int, size: int) -> Iterator[tuple[int, bytes, _Frame, bool]]:
    """Offset, first bytes (at most FRAME_START_BYTES) and parsed header of each frame, and whether it is whole.

    Steps over tags and junk.
    """
    origin, data = position, b""
    stream_format: _Format | None = None
    while position < size:
        at = position - origin
        # `_after_junk` may return the very place from which more must be read; without this, the loop would not end.
        if (at + 4 * MAX_FRAME >= len(data) and origin + len(data) < size) or at > len(data):
            file.seek(position)
            origin, data, at = position, file.read(CHUNK), 0
            if not data:
                return
        frame = _parse(data[at : at + 4])
        # Another format must be confirmed by the next frames: the header may be damaged.
        if frame is not None and (frame.format == stream_format or _is_start(data, at, size - origin)):
            stream_format = frame.format
            yield position, data[at : at + min(frame.length, FRAME_START_BYTES)], frame, position + frame.length <= size
            position += frame.length
            continue
        position = _after_junk(file, data, at, position, size)


def _after_junk(file: IO[bytes], data: bytes, at: int, position: int, size: int) -> int:
    """Offset in the file where the next frame may begin.

    Args:
        file: its position changes.
        data: the chunk of the file that was read last.
        at: offset in `data` of what is no frame.
        position: offset in the file of the same place.
        size: bytes of the file.
    """
    if data[at : at + 3] == b"ID3" and (after := skip_id3(file, position)) > position:
        return after
    if data[at : at + 3] == b"TAG":
        return position + ID3V1_BYTES
    if data[at : at + 8] == b"APETAGEX":
        is_header = data[at + 23 : at + 24] >= b"\xa0" if len(data) > at + 23 else False
        length = int.from_bytes(data[at + 12 : at + 16], "little")
        return position + APE_HEADER_BYTES + (length if is_header else 0)
    # The last bytes are searched with what follows them, unless nothing does: the file ends, or it shrank meanwhile.
    is_last = position - at + len(data) >= size or len(data) <= 4 * MAX_FRAME
    limit = len(data) if is_last else len(data) - 4 * MAX_FRAME
    following = data.find(b"\xff", at + 1)
    while 0 <= following < limit:
        if _is_start(data, following, size - (position - at)):
            return position - at + following
        following = data.find(b"\xff", following + 1)
    return position - at + limit
