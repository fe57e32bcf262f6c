"""Formats of one header and one run of samples: reads several joined files, and compares the header with the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from device_app.audio.containers.view import HEADER_TOLERANCE_S, TAGS, Part, View

MAX_JOINED = 10_000  # files; the sound of the last extends over what follows


@dataclass(frozen=True)
class Sound:
    """What a header says.

    Attributes:
        header: the header for the decoder. With it, the decoder reads to the end of what it gets.
        start: offset of the samples in the file.
        length: bytes of samples; None if the header does not say.
        frame: bytes of one sample of all channels; it need not be whole.
        rate: samples per second.
    """

    header: bytes
    start: int
    length: int | None
    frame: float
    rate: float


# Takes a file and the offset of a header. It returns None if there is no header of its format.
HeaderReader = Callable[[IO[bytes], int], Sound | None]


def joined_parts(file: IO[bytes], size: int, read: HeaderReader) -> list[Part] | None:
    """One part for each of the files that are joined in `file`; None if it does not begin with a header.

    Samples that follow a length that is too short belong to the recording, unless another header or a tag follows.
    """
    found: list[Part] = []
    sound = read(file, 0)
    while sound is not None and sound.start <= size:
        end = size if sound.length is None else sound.start + sound.length
        following = read(file, end) if end < size and len(found) < MAX_JOINED else None
        is_cut = end - size > HEADER_TOLERANCE_S * sound.rate * sound.frame
        if following is None and not _is_tag(file, end):
            end = size
        declared = int((sound.length or 0) / sound.frame) if is_cut else None
        # A header without samples is no recording; hostile files may have millions.
        if end > sound.start or not (found or following):
            found.append(Part(View(file, [sound.header, (sound.start, end - sound.start)]), declared, is_cut))
        sound = following
    return found or None


def _is_tag(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    return file.read(3) in TAGS
