"""`ForeignPart`: one recording in a file that FFmpeg reads, as `containers.view.Part` is one that libsndfile reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from device_app.audio.containers.view import View

CUT = "its end is missing"
DAMAGED = "a part of its structure is damaged"


@dataclass(frozen=True)
class ForeignPart:
    """One recording in a file of a format that libsndfile does not read.

    Attributes:
        file: the recording as a file of its own.
        fault: what its structure shows as damaged or missing, as a part of a sentence; None if nothing.
        fault_s: where that is, in seconds from the start of the part; None if not known.
        is_whole: `file` is the whole file, unchanged.
    """

    file: View
    fault: str | None = None
    fault_s: float | None = None
    is_whole: bool = False


def whole(file: IO[bytes], size: int, fault: str | None = None) -> ForeignPart:
    """The part that is a whole file, unchanged."""
    return ForeignPart(View(file, [(0, size)]), fault, is_whole=True)
