"""Creative Voice files (.voc): blocks, of which libsndfile reads the first only; cut-off and joined files.

A block has its kind in one byte, its length in three, and its content. Blocks with sound of one format that follow
each other become a WAV file for the decoder.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from device_app.audio.containers.iff import riff_header
from device_app.audio.containers.view import HEADER_TOLERANCE_S, TAGS, Part, Span, View

MAGIC = b"Creative Voice File\x1a"
# Kinds of blocks. EXTENDED describes the samples of the SOUND block after it; MORE_SOUND continues a sound.
END, SOUND, MORE_SOUND, SILENCE, EXTENDED, NEW_SOUND = 0, 1, 2, 3, 8, 9
SOUND_KINDS = (SOUND, MORE_SOUND, NEW_SOUND)
LAST_KIND = 9
CODECS = {0: (1, 8), 4: (1, 16), 6: (6, 8), 7: (7, 8)}  # by codec: format number of WAV, and bits of a sample
SILENT_BYTE = {0: b"\x80", 4: b"\0", 6: b"\xd5", 7: b"\xff"}  # by codec: PCM of 8 and 16 bits, A-law, mu-law
MAX_BLOCKS = 200_000  # all that follows so many is taken for sound
MAX_SILENCE = 1 << 24  # bytes of silence in all; a block of a few bytes may stand for 65,536 samples of it
MAX_CHANNELS = 8


@dataclass(frozen=True)
class _Format:
    codec: int
    channels: int
    rate: int

    @property
    def is_known(self) -> bool:
        """Whether the decoder reads samples of this format."""
        return self.codec in CODECS and 0 < self.channels <= MAX_CHANNELS and self.rate > 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * CODECS[self.codec][1] // 8

    def header(self, length: int) -> bytes:
        """The header of a WAV file with `length` bytes of samples."""
        number, bits = CODECS[self.codec]
        values = number, self.channels, self.rate, self.rate * self.frame_bytes, self.frame_bytes, bits
        return riff_header(b"RIFF", struct.pack("<HHIIHH", *values), length, "little")


@dataclass
class _Run:
    """Sound of one format: its spans, their length in bytes, and the bytes that the file lacks."""

    format: _Format
    spans: list[Span] = field(default_factory=list)
    length: int = 0
    missing: int = 0

    def add(self, start: int, length: int, size: int) -> None:
        """Adds `length` bytes from the offset `start`, as far as a file of `size` bytes has them."""
        available = max(0, min(length, size - start))
        self.spans.append((start, available))
        self.length += available
        self.missing += length - available

    def add_silence(self, duration_s: float, most: int) -> int:
        """Adds silence, at most `most` bytes; returns their number."""
        length = min(round(duration_s * self.format.rate), most // self.format.frame_bytes) * self.format.frame_bytes
        self.spans.append(SILENT_BYTE[self.format.codec] * length)
        self.length += length
        return length

    def part(self, file: IO[bytes]) -> Part:
        is_cut = self.missing > HEADER_TOLERANCE_S * self.format.rate * self.format.frame_bytes
        declared = (self.length + self.missing) // self.format.frame_bytes if is_cut else None
        return Part(View(file, [self.format.header(self.length), *self.spans]), declared, is_cut)


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each run of sound; None if it is no .voc file, or its first sound is of an unknown format."""
    first = _first_block(file, 0)
    if first is None:
        return None
    blocks = _Blocks(file, size)
    blocks.read(first)
    return [run.part(file) for run in blocks.runs if run.length] or None


def _first_block(file: IO[bytes], at: int) -> int | None:
    """The offset of the first block of a file that begins at `at`; None if none begins there."""
    file.seek(at)
    header = file.read(26)
    if header[:20] != MAGIC or len(header) < 26:
        return None
    return at + max(26, int.from_bytes(header[20:22], "little"))


class _Blocks:
    """Reads the blocks of a file, and of those that are joined to it, into runs."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.runs: list[_Run] = []
        self._file = file
        self._size = size
        self._extended_format: _Format | None = None  # from a block EXTENDED, for the block SOUND that follows
        self._silence_s = 0.0  # before the next sound
        self._silence_left = MAX_SILENCE  # bytes that may still be added

    def read(self, at: int) -> None:
        """Reads from the block at `at`."""
        sound_end = at
        for _ in range(MAX_BLOCKS):
            self._file.seek(at)
            header = self._file.read(4)
            kind, length = header[0] if header else END, int.from_bytes(header[1:], "little")
            if kind == END:
                following = _first_block(self._file, at + 1)
                if following is None:
                    break
                at = following
                continue
            content_at = at + 4
            if len(header) < 4 or not self._read_block(kind, content_at, length):
                break
            at = content_at + length
            if kind in SOUND_KINDS:
                sound_end = at
            at = _first_block(self._file, at) or at  # the END is optional
        self._add_rest(at, sound_end)

    def _read_block(self, kind: int, at: int, length: int) -> bool:
        """Adds the block with its content at `at` to the runs; returns False if this can be no block."""
        self._file.seek(at)
        content = self._file.read(min(length, 12))
        if kind in (SOUND, NEW_SOUND):
            sound_format = self._sound_format(kind, content)
            if sound_format is None or not sound_format.is_known:
                return False
            if not self.runs or self.runs[-1].format != sound_format:
                self.runs.append(_Run(sound_format))
            before_samples = 2 if kind == SOUND else 12  # bytes
            self._add(at + before_samples, length - before_samples)
            return True
        if kind > LAST_KIND or (kind != MORE_SOUND and at + length > self._size):
            return False
        if kind == MORE_SOUND and self.runs:
            self._add(at, length)
        elif kind == SILENCE and length >= 3:
            self._silence_s += (int.from_bytes(content[:2], "little") + 1) * (256 - content[2]) / 1e6
        elif kind == EXTENDED and length >= 4:
            divisor, codec, channels = int.from_bytes(content[:2], "little"), content[2], content[3] + 1
            self._extended_format = _Format(codec, channels, round(256e6 / channels / (65536 - divisor)))
        return True

    def _sound_format(self, kind: int, content: bytes) -> _Format | None:
        if kind == SOUND:
            extended, self._extended_format = self._extended_format, None
            return extended or (_Format(content[1], 1, round(1e6 / (256 - content[0]))) if len(content) >= 2 else None)
        if len(content) < 12:
            return None
        rate, _bits, channels, codec = struct.unpack_from("<IBBH", content)
        return _Format(codec, channels, rate)

    def _add(self, start: int, length: int) -> None:
        """Adds the silence before a sound, and the sound of `length` bytes from the offset `start`, to the last run."""
        if self._silence_s:
            self._silence_left -= self.runs[-1].add_silence(self._silence_s, self._silence_left)
            self._silence_s = 0.0
        self.runs[-1].add(start, max(0, length), self._size)

    def _add_rest(self, at: int, sound_end: int) -> None:
        """Adds what follows the blocks to the last sound: 24 bits are too few for the length of a large block.

        Args:
            at: offset in bytes where no further block was found.
            sound_end: where the last block with sound ends by its length.
        """
        if not self.runs:
            return
        last = self.runs[-1].format
        self._file.seek(at + 1)
        if self._size - at > HEADER_TOLERANCE_S * last.rate * last.frame_bytes and self._file.read(3) not in TAGS:
            self._add(sound_end, self._size - sound_end)
