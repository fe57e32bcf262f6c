"""Creative Voice files (.voc): blocks, of which libsndfile reads the first only; cut-off and joined files.

A block has its kind in one byte, its length in three, and its content. Blocks with sound of one form that follow each
other become a WAV file for the decoder.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from device_app.audio.containers.iff import riff_header
from device_app.audio.containers.view import HEADER_TOLERANCE_S, TAGS, Part, Span, View

MAGIC = b"Creative Voice File\x1a"
END, SOUND, MORE_SOUND, SILENCE, FORM, NEW_SOUND = 0, 1, 2, 3, 8, 9
SOUND_KINDS = (SOUND, MORE_SOUND, NEW_SOUND)
LAST_KIND = 9
CODECS = {0: (1, 8), 4: (1, 16), 6: (6, 8), 7: (7, 8)}  # format number of WAV, and bits of a sample
SILENT_BYTE = {0: b"\x80", 4: b"\0", 6: b"\xd5", 7: b"\xff"}
MAX_BLOCKS = 200_000  # what follows counts as sound
MAX_SILENCE = 1 << 24  # bytes in a file; a silent block of a few bytes stands for up to 65,536 samples
MAX_CHANNELS = 8


@dataclass(frozen=True)
class _Form:
    codec: int
    channels: int
    rate: int

    @property
    def is_known(self) -> bool:
        """Whether the decoder reads it."""
        return self.codec in CODECS and 0 < self.channels <= MAX_CHANNELS and self.rate > 0

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * CODECS[self.codec][1] // 8

    def header(self, length: int) -> bytes:
        """Of a WAV file with `length` bytes of samples."""
        number, bits = CODECS[self.codec]
        values = number, self.channels, self.rate, self.rate * self.frame, self.frame, bits
        return riff_header(b"RIFF", struct.pack("<HHIIHH", *values), length, "little")


@dataclass
class _Run:
    """Sound of one form: its spans, their length in bytes, and the bytes that the file lacks."""

    form: _Form
    spans: list[Span] = field(default_factory=list)
    length: int = 0
    missing: int = 0

    def add(self, start: int, length: int, size: int) -> None:
        available = max(0, min(length, size - start))
        self.spans.append((start, available))
        self.length += available
        self.missing += length - available

    def add_silence(self, duration_s: float, most: int) -> int:
        """Adds at most `most` bytes; returns their number."""
        length = min(round(duration_s * self.form.rate), most // self.form.frame) * self.form.frame
        self.spans.append(SILENT_BYTE[self.form.codec] * length)
        self.length += length
        return length

    def part(self, file: IO[bytes]) -> Part:
        is_cut = self.missing > HEADER_TOLERANCE_S * self.form.rate * self.form.frame
        declared = (self.length + self.missing) // self.form.frame if is_cut else None
        return Part(View(file, [self.form.header(self.length), *self.spans]), declared, is_cut)


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """One part for each run of sound; None if it is no .voc file, or its first sound is in a form that is not known."""
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
        self._form: _Form | None = None  # from a block FORM, for the block SOUND that follows
        self._silence_s = 0.0  # before the next sound
        self._most_silence = MAX_SILENCE

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
            content = at + 4
            if len(header) < 4 or not self._take(kind, content, length):
                break
            at = content + length
            if kind in SOUND_KINDS:
                sound_end = at
            at = _first_block(self._file, at) or at  # the END is optional
        self._take_rest(at, sound_end)

    def _take(self, kind: int, at: int, length: int) -> bool:
        """Adds a block to the runs; returns False if this can be no block."""
        self._file.seek(at)
        content = self._file.read(min(length, 12))
        if kind in (SOUND, NEW_SOUND):
            form = self._sound_form(kind, content)
            if form is None or not form.is_known:
                return False
            if not self.runs or self.runs[-1].form != form:
                self.runs.append(_Run(form))
            header = 2 if kind == SOUND else 12
            self._add(at + header, length - header)
            return True
        if kind > LAST_KIND or (kind != MORE_SOUND and at + length > self._size):
            return False
        if kind == MORE_SOUND and self.runs:
            self._add(at, length)
        elif kind == SILENCE and length >= 3:
            self._silence_s += (int.from_bytes(content[:2], "little") + 1) * (256 - content[2]) / 1e6
        elif kind == FORM and length >= 4:
            divisor, codec, channels = int.from_bytes(content[:2], "little"), content[2], content[3] + 1
            self._form = _Form(codec, channels, round(256e6 / channels / (65536 - divisor)))
        return True

    def _sound_form(self, kind: int, content: bytes) -> _Form | None:
        if kind == SOUND:
            form, self._form = self._form, None
            return form or (_Form(content[1], 1, round(1e6 / (256 - content[0]))) if len(content) >= 2 else None)
        if len(content) < 12:
            return None
        rate, _bits, channels, codec = struct.unpack_from("<IBBH", content)
        return _Form(codec, channels, rate)

    def _add(self, start: int, length: int) -> None:
        if self._silence_s:
            self._most_silence -= self.runs[-1].add_silence(self._silence_s, self._most_silence)
            self._silence_s = 0.0
        self.runs[-1].add(start, max(0, length), self._size)

    def _take_rest(self, at: int, sound_end: int) -> None:
        """Adds what follows the blocks to the sound: 24 bits are too few for the length of a large block."""
        if not self.runs:
            return
        form = self.runs[-1].form
        self._file.seek(at + 1)
        if self._size - at > HEADER_TOLERANCE_S * form.rate * form.frame and self._file.read(3) not in TAGS:
            self._add(sound_end, self._size - sound_end)
