"""Sun/NeXT .au: a length that is wrong or was never written."""

from __future__ import annotations

from typing import IO, Literal

from device_app.audio.containers.view import HEADER_TOLERANCE_S, UNKNOWN_FROM, Part, View

MAGICS: dict[bytes, Literal["big", "little"]] = {b".snd": "big", b"dns.": "little"}
BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # of a sample, by the number of the encoding


def parts(file: IO[bytes], size: int) -> list[Part] | None:
    """The recording to the end of the file; None if it is not .au."""
    header = bytearray(file.read(24))
    order = MAGICS.get(bytes(header[:4]))
    if order is None or len(header) < 24:
        return None
    offset, length, encoding, rate, channels = (int.from_bytes(header[at : at + 4], order) for at in range(4, 24, 4))
    frame = BYTES.get(encoding, 0) * channels
    if not frame or not 24 <= offset <= size:
        return None
    is_cut = length < UNKNOWN_FROM and offset + length - size > HEADER_TOLERANCE_S * rate * frame
    header[8:12] = b"\xff" * 4  # unknown: to the end of the file
    return [Part(View(file, [bytes(header), (24, size - 24)]), length // frame if is_cut else None, is_cut)]
