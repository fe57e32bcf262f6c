"""Containers that libsndfile does not read (MP4, WebM, Matroska, AMR, WMA): through PyAV, or the program ffmpeg."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

from device_app.audio import ffmpeg, pyav
from device_app.audio.containers import foreign
from device_app.audio.timeline import Block, Timeline
from device_app.extras import how_to_install, missing_packages
from editing.errors import BadAudioError, IncompleteAudioError, MissingDependencyError

_NAMES = "m4a m4b mp4 m4v mov 3gp 3g2 aac webm weba mkv mka amr awb wma wmv asf avi flv mpg mpeg m2ts ac3 ape wv tta"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
HINT = f"{how_to_install('media')}, or install the program ffmpeg"  # what to do without either


def is_available() -> bool:
    """Whether PyAV or ffmpeg is installed."""
    return _has_pyav() or _ffmpeg() is not None


def blocks(source: Path | IO[bytes], name: str) -> Iterator[Block]:
    """Decodes the first audio stream of a file; joined files are read one after another.

    Where samples are damaged or missing, what follows is read too. Silence takes their place if timestamps show how
    many there were.

    Args:
        source: a path or a seekable binary stream.
        name: what to call it in errors.

    Raises:
        BadAudioError: nothing of it can be decoded, or it has no audio.
        IncompleteAudioError: it is damaged or cut off; raised after all that can be decoded.
        MissingDependencyError: neither PyAV nor ffmpeg is installed.
    """
    program = None if _has_pyav() else _program(name)
    timeline = Timeline()
    first_error: BadAudioError | None = None
    with ExitStack() as stack:
        # PyAV gets the open file, as it takes no path that is not UTF-8.
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        parts = foreign.parts(file)
        for part in parts:
            timeline.begin(part.fault, part.fault_s)
            stream = cast("IO[bytes]", part.file)
            try:
                if program is None:
                    yield from pyav.blocks(stream, name, timeline)
                else:
                    is_a_file = isinstance(source, Path) and part.is_whole  # else it must be copied to a file
                    yield from ffmpeg.blocks(program, source if is_a_file else stream, name, timeline)
            except BadAudioError as error:
                first_error = first_error or error
                timeline.note(str(error).removeprefix(f"{name}: "))
            if part.file.failure is not None:
                timeline.note(part.file.failure.strerror or "a read failed")
    if not timeline.found_s and first_error is not None:
        raise BadAudioError(f"{name}: cannot be read: {parts[0].fault}") if parts[0].fault else first_error
    if (message := timeline.fault) is not None:
        raise IncompleteAudioError(f"{name}: {message}")


def duration_s(source: Path) -> float:
    """Seconds of audio by the container's header; 0 if it does not say, or only ffmpeg could read it.

    Raises:
        BadAudioError: it cannot be read.
        MissingDependencyError: neither PyAV nor ffmpeg is installed.
    """
    if not _has_pyav():
        _program(str(source))
        return 0.0
    with source.open("rb") as file:
        return math.fsum(pyav.duration_s(cast("IO[bytes]", part.file), str(source)) for part in foreign.parts(file))


def tracks(source: Path) -> int:
    """Audio tracks in a file, of which `blocks` decodes the first; 0 if that is not known.

    Raises:
        OSError: it cannot be read.
    """
    if _has_pyav():
        with source.open("rb") as file:
            return pyav.tracks(file)
    program = _ffmpeg()
    return 0 if program is None else ffmpeg.tracks(program, source)


def _has_pyav() -> bool:
    return not missing_packages("media")


def _ffmpeg() -> str | None:
    return shutil.which("ffmpeg")


def _program(name: str) -> str:
    """The path of ffmpeg.

    Raises:
        MissingDependencyError: it is not installed.
    """
    program = _ffmpeg()
    if program is None:
        raise MissingDependencyError(f"{name}: this format needs PyAV or ffmpeg: {HINT}")
    return program
