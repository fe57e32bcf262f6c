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

from device_app.audio.samples import SUFFIXES, is_recording
from device_app.outputs import check_output
from editing.errors import AsrEdgeError, BadAudioError, BadInputError, StorageError
from editing.files import is_stream, refuse_overwriting

STDIN = "-"
STANDARD_INPUT = Path("/dev/stdin")
STANDARD_OUTPUT = Path("/dev/stdout")
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
            BadAudioError: standard input, a FIFO or a device cannot be read, or gives nothing.
            StorageError: what it gives does not fit on the disk.
        """
        if self.path is not None and not self.is_stream:
            yield self.path
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as spool:
            try:
                with self._stream() as stream:
                    while data := stream.read(1 << 20):
                        _keep(data, spool)
            except OSError as error:
                if isinstance(error, AsrEdgeError):
                    raise
                raise BadAudioError(f"{self.name}: cannot be read ({error.strerror or error})") from error
            if not spool.tell():
                raise BadAudioError(f"{self.name}: no data came")
            spool.seek(0)
            yield spool

    @property
    def is_stream(self) -> bool:
        """Whether it can be read once only: standard input, a FIFO, a device."""
        return self.path is None or (self.path.exists() and not self.path.is_file() and not self.path.is_dir())

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes]]:
        if self.path is None:
            yield sys.stdin.buffer
        else:
            with self.path.open("rb") as file:
                yield file


def _keep(data: bytes, spool: IO[bytes]) -> None:
    try:
        spool.write(data)
    except OSError as error:
        raise StorageError(
            f"a recording cannot be kept while it is read ({error.strerror}); free some space"
        ) from error


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
    recordings: Sequence[Recording], targets: Sequence[Path], others: Iterable[Path] = (), *, overwrite: bool = False
) -> None:
    """Call it before any work: no result may replace a recording, or a file that is there already.

    Args:
        recordings: the inputs.
        targets: where their results go, as `output_paths` says; none is standard output.
        others: files that are read too, such as a language model.
        overwrite: results may replace files, though never a recording.

    Raises:
        BadInputError: a target is an input, a recording (as by a slip in a list of files), or another file that
            `overwrite` does not allow to replace; see `device_app.outputs.check_output`.
    """
    # Standard input and output may be files too: "transcribe - -o x < x", "transcribe x >> x".
    inputs = [*(one.path or STANDARD_INPUT for one in recordings), *others]
    refuse_overwriting(targets or [STANDARD_OUTPUT], inputs)
    for target in targets:
        if target.is_file() and not is_stream(target) and is_recording(target):
            raise BadInputError(f"{target}: is a recording, and would be lost; nothing was changed. Name another file")
        check_output(target, overwrite=overwrite)


def output_paths(recordings: Sequence[Recording], output: str, suffix: str) -> list[Path]:
    """Where each recording's result is to be written.

    One recording goes to `output` itself unless that is a folder or ends in a slash; several go into it as a
    folder, each with its own name and the new suffix. Two that would collide keep their old suffix too.
    """
    if len(recordings) == 1 and not output.endswith("/") and not Path(output).is_dir():
        return [Path(output)]
    taken = Counter(recording.place for recording in recordings)
    paths = []
    for recording in recordings:
        own = recording.path.suffix if recording.path and taken[recording.place] > 1 else ""
        paths.append(Path(output) / recording.place.with_name(f"{recording.place.name}{own}.{suffix}"))
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise BadInputError(f"{twice[0]}: two recordings would be written there; transcribe them one folder at a time")
    return paths
