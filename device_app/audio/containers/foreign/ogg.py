"""Ogg with a codec that libsndfile does not read, such as FLAC."""

from __future__ import annotations

from typing import IO

from device_app.audio.containers import ogg
from device_app.audio.containers.foreign.part import ForeignPart

INCOMPLETE = "some of its pages are missing"


def parts(file: IO[bytes], size: int) -> list[ForeignPart] | None:
    """One part for each chained stream; None if the file is not Ogg."""
    found = ogg.parts(file, size)
    return None if found is None else [ForeignPart(part.file, INCOMPLETE if part.is_cut else None) for part in found]
