"""Which recordings a command was given, and where each one's result goes."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from device_app.audio.samples import SUFFIXES
from editing.errors import BadAudioError, BadInputError, StorageError
from editing.files import refuse_overwriting

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


def check_outputs(
    recordings: Sequence[Recording], targets: Sequence[Path], output: Path, others: Iterable[Path] = ()
) -> None:
    """Call it before any work: no result may replace a recording, or a text that was written by hand.

    Args:
        recordings: the inputs.
        targets: where their results go, as `output_paths` says.
        output: what the user named.
        others: files that are read too, such as a language model.

    Raises:
        BadInputError: a target is an input; or a recording, as by a slip in a list of files; or is the label of one,
            which the user did not name.
    """
    refuse_overwriting(targets, [*(one.path for one in recordings if one.path is not None), *others])
    for target in targets:
        if not target.is_file():
            continue
        if target.suffix.lower() in SUFFIXES:
            raise BadInputError(f"{target}: is a recording, and would be lost; nothing was changed. Name another file")
        if target != output and _is_label(target):
            raise BadInputError(
                f"{target}: is there already, beside a recording whose label it may be; nothing was changed. "
                "Name another folder, or move it away"
            )


def _is_label(path: Path) -> bool:
    """Whether `asr-edge import` would take a file for a recording's label."""
    suffixes = (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES))
    return path.suffix == ".txt" and any(path.with_suffix(suffix).is_file() for suffix in suffixes)


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
