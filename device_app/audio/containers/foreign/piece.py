"""`Piece`: one recording in a file that FFmpeg reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from device_app.audio.containers.view import View

CUT = "its end is missing"
DAMAGED = "a part of its structure is damaged"


@dataclass(frozen=True)
class Piece:
    """One recording in a file.

    Attributes:
        file: the recording as a file of its own.
        fault: what its structure shows as damaged or missing, as a part of a sentence; None if nothing.
        fault_s: where that is, in seconds from the start of the piece; None if not known.
        is_whole: it is the file as it is.
    """

    file: View
    fault: str | None = None
    fault_s: float | None = None
    is_whole: bool = False


def whole(file: IO[bytes], size: int, fault: str | None = None) -> Piece:
    """A file that needs no change."""
    return Piece(View(file, [(0, size)]), fault, is_whole=True)
