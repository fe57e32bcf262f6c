"""Finds joined files of a format that has one header and then the samples, and compares the header with the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from device_app.audio.containers.view import HEADER_TOLERANCE_S, TAGS, Part, View

MAX_JOINED = 10_000  # files; the sound of the last extends over what follows


@dataclass(frozen=True)
class Sound:
    """One of joined files, by its header.

    Attributes:
        header: the header for the decoder, changed so that the decoder reads to the end of the samples that follow it.
        start: offset in bytes of the samples in the file.
        length: bytes of samples; None if the header does not say.
        frame_bytes: bytes of one sample of all channels; a fraction if a sample has fewer than 8 bits.
        rate: samples per second and channel.
    """

    header: bytes
    start: int
    length: int | None
    frame_bytes: float
    rate: float


# Takes a file and the offset of a header in bytes; returns None if there is no header of its format.
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
        is_cut = end - size > HEADER_TOLERANCE_S * sound.rate * sound.frame_bytes
        if following is None and not _is_tag(file, end):
            end = size
        declared = int((sound.length or 0) / sound.frame_bytes) if is_cut else None
        # A header without samples is no recording; hostile files may have millions.
        if end > sound.start or not (found or following):
            found.append(Part(View(file, [sound.header, (sound.start, end - sound.start)]), declared, is_cut))
        sound = following
    return found or None


def _is_tag(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    return file.read(3) in TAGS
