"""Which recordings a command was given, and where each one's result goes."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from device_app.audio import SUFFIXES
from editing.errors import BadAudioError, BadInputError, StorageError

STDIN = "-"
IN_MEMORY = 16 * 1024 * 1024  # bytes of standard input kept in memory; more goes to a temporary file


@dataclass(frozen=True)
class Recording:
    """One recording to work on.

    Attributes:
        path: the file; None is standard input.
        name: as the user would call it.
        place: where it was found relative to the folder that was asked for, without its suffix;
            results are put at the same place.
    """

    path: Path | None
    name: str
    place: Path

    @contextmanager
    def opened(self) -> Iterator[Path | IO[bytes]]:
        """Something that audio can be read from, twice if need be.

        Raises:
            StorageError: standard input does not fit on the disk.
        """
        if self.path is not None:
            yield self.path
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
            try:
                while data := sys.stdin.buffer.read(1 << 20):
                    spool.write(data)
            except OSError as error:
                raise StorageError(f"standard input: cannot be kept ({error.strerror}); free some space") from error
            if not spool.tell():
                raise BadAudioError("standard input: no data came")
            spool.seek(0)
            yield spool


def find_recordings(sources: Sequence[str]) -> list[Recording]:
    """Files as they are named, folders walked for audio, "-" for standard input.

    Raises:
        BadInputError: a folder holds no audio.
    """
    found: list[Recording] = []
    for source in sources:
        path = Path(source)
        if source == STDIN:
            found.append(Recording(None, "standard input", Path("stdin")))
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise BadInputError(f"{path}: a folder without audio ({', '.join(sorted(SUFFIXES))})")
            found += [Recording(p, str(p), p.relative_to(path).with_suffix("")) for p in inside]
        else:
            found.append(Recording(path, source, Path(path.stem)))
    return found


def output_paths(recordings: Sequence[Recording], output: Path, suffix: str) -> list[Path]:
    """Where each recording's result is to be written.

    One recording goes to `output` itself unless that is a folder; several go into it as a folder,
    each with its own name and the new suffix. Two that would collide keep their old suffix too.
    """
    if len(recordings) == 1 and not output.is_dir() and not str(output).endswith("/"):
        return [output]
    taken = Counter(recording.place for recording in recordings)
    paths = []
    for recording in recordings:
        own = recording.path.suffix if recording.path and taken[recording.place] > 1 else ""
        paths.append(output / recording.place.with_name(f"{recording.place.name}{own}.{suffix}"))
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise BadInputError(f"{twice[0]}: two recordings would be written there; transcribe them one folder at a time")
    return paths
