"""Finds the recordings that a command line names, and the output path of each result."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from device_app.audio.decoding import may_become_audio, tracks
from device_app.audio.samples import SUFFIXES, is_apple_double, is_recording
from device_app.outputs import check_output
from editing.errors import AsrEdgeError, BadAudioError, BadInputError, StorageError
from editing.files import MAX_NAME_LENGTH, is_stream, refuse_overwriting, shortened

STDIN_ARGUMENT = "-"
STDIN_DEVICE = Path("/dev/stdin")
STDOUT_DEVICE = Path("/dev/stdout")
MAX_IN_MEMORY = 16 * 1024 * 1024  # bytes of standard input kept in memory; more, if it is audio, goes to a file
MAX_BUFFERED = 4 << 30  # bytes, the limit of WAV files too: six hours of 48 kHz, 16 bits and two channels
READ_SIZE = 1 << 20  # bytes


@dataclass(frozen=True)
class Recording:
    """One recording to work on.

    Attributes:
        path: the file; None is standard input.
        name: as the user named it.
        relative_path: its path relative to the folder that the user named, without the suffix; the result
            gets the same relative path in the output folder.
    """

    path: Path | None
    name: str
    relative_path: Path

    @contextmanager
    def opened(self) -> Iterator[Path | IO[bytes]]:
        """A path or a seekable stream with the audio.

        Raises:
            BadAudioError: standard input, a FIFO or a device cannot be read, has no data, is long but not audio, or
                has more than 4 GiB, because it may be endless.
            StorageError: its data does not fit on the disk.
        """
        if self.path is not None and not self.is_read_once:
            yield self.path
            return
        with tempfile.SpooledTemporaryFile(MAX_IN_MEMORY) as spool:
            try:
                with self._stream() as stream:
                    self._fill(spool, stream)
            except OSError as error:
                if isinstance(error, AsrEdgeError):  # StorageError is an OSError too
                    raise
                raise BadAudioError(f"{self.name}: cannot be read ({error.strerror or error})") from error
            if not spool.tell():
                raise BadAudioError(f"{self.name}: no data was received")
            spool.seek(0)
            yield spool

    def _fill(self, spool: IO[bytes], stream: IO[bytes]) -> None:
        """Copies a stream, which may be endless, to `spool`; refuses what is long but not audio, or too long."""
        is_checked = False
        while data := stream.read(READ_SIZE):
            if not is_checked and spool.tell() + len(data) > MAX_IN_MEMORY:
                if not may_become_audio(spool, self.name):
                    raise BadAudioError(
                        f"{self.name}: not audio that can be read; stopped after {spool.seek(0, os.SEEK_END) >> 20} "
                        "MiB. A stream must begin with the header of a format, such as WAV"
                    )
                is_checked = True
                spool.seek(0, os.SEEK_END)
            _buffer(data, spool)
            if spool.tell() > MAX_BUFFERED:
                raise BadAudioError(
                    f"{self.name}: more than {MAX_BUFFERED >> 30} GiB, the most that can be read from a stream; does "
                    "it end? Save it to a file, and transcribe that"
                )

    @property
    def tracks(self) -> int:
        """Audio tracks in its file, of which the first is read; 0 if that is not known."""
        return 0 if self.path is None or self.is_read_once else tracks(self.path)

    @property
    def is_read_once(self) -> bool:
        """Whether it can be read only once: standard input, a FIFO, a device."""
        return self.path is None or (self.path.exists() and not self.path.is_file() and not self.path.is_dir())

    @contextmanager
    def _stream(self) -> Iterator[IO[bytes]]:
        if self.path is None:
            yield sys.stdin.buffer
        else:
            with self.path.open("rb") as file:
                yield file


def _buffer(data: bytes, spool: IO[bytes]) -> None:
    try:
        spool.write(data)
    except OSError as error:
        raise StorageError(
            f"no room to buffer a recording that can be read only once ({error.strerror}); free some disk space"
        ) from error


def find_recordings(
    sources: Sequence[str], on_skipped: Callable[[str], None] = lambda _message: None
) -> list[Recording]:
    """Lists recordings: files as the user named them, the audio files in folders, and standard input for "-".

    Args:
        sources: files, folders or "-", as the user named them.
        on_skipped: called with a message for each subfolder that is a link, which is not searched.

    Raises:
        BadInputError: a folder has no audio, or cannot be read.
    """
    found: list[Recording] = []
    for source in sources:
        path = Path(source)
        if source == STDIN_ARGUMENT:
            found.append(Recording(None, "standard input", Path("stdin")))
        elif path.is_dir():
            inside = audio_files(path, on_skipped)
            if not inside:
                raise BadInputError(f"{path}: the folder contains no audio files, such as .wav, .mp3 or .m4a")
            found += [Recording(p, str(p), p.relative_to(path).with_suffix("")) for p in inside]
        else:
            found.append(Recording(path, source, Path(path.stem)))
    return found


def audio_files(folder: Path, on_skipped: Callable[[str], None] = lambda _message: None) -> list[Path]:
    """Files in a folder and its subfolders that are audio by their suffix, sorted.

    A link counts as the file that it points to, under the link's own name. Broken links and subfolders that
    cannot be read are listed too, so that the error is reported when they are read. AppleDouble files of macOS
    (`._a.wav`), which hold only metadata of other files, are not recordings.

    Args:
        folder: searched with its subfolders, except for links to folders, which may point back to it.
        on_skipped: called with a message for each subfolder that is a link, which is not searched, and for each pipe,
            device or socket with the suffix of audio.

    Raises:
        BadInputError: the folder cannot be read.
    """
    found: list[Path] = []

    def on_error(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise BadInputError(f"{folder}: cannot be searched ({error.strerror})") from error
        found.append(Path(error.filename))

    for parent, subfolders, names in os.walk(folder, onerror=on_error):
        for name in subfolders:
            if (linked := Path(parent, name)).is_symlink():
                on_skipped(f"{linked}: skipped, because it is a link to a folder; name it too, to include it")
        paths = [Path(parent, name) for name in names if not is_apple_double(name)]
        for one in paths:
            if one.suffix.lower() not in SUFFIXES:
                continue
            if one.is_file() or is_broken_link(one):
                found.append(one)
            else:
                on_skipped(f"{one}: skipped, because it is a pipe, device or socket; name it too, to include it")
    return sorted(found)


def is_broken_link(path: Path) -> bool:
    """Whether a path is a symbolic link whose target does not exist."""
    return path.is_symlink() and not path.exists()


def check_outputs(
    recordings: Sequence[Recording], targets: Sequence[Path], others: Iterable[Path] = (), *, overwrite: bool = False
) -> None:
    """Checks, before any work, that no result replaces a recording or an existing file.

    Args:
        recordings: the inputs.
        targets: the files of their results, from `output_paths`; empty for standard output.
        others: other files that the command reads, such as a language model.
        overwrite: results may replace existing files, but never a recording.

    Raises:
        BadInputError: a target is an input, a recording (for example by a mistake in a list of files), has the suffix
            of one, or is another file that `overwrite` does not allow replacing; see `device_app.outputs.check_output`.
    """
    # Standard input and output may be files, as in "transcribe - -o x < x" and "transcribe x >> x".
    inputs = [*(one.path or STDIN_DEVICE for one in recordings), *others]
    refuse_overwriting(targets or [STDOUT_DEVICE], inputs)
    for target in targets:
        _refuse_recording(target)
        if target.suffix.lower() in SUFFIXES and not is_stream(target):
            raise BadInputError(
                f"{target}: has the name of a recording, but a transcript is text; write {target.with_suffix('.txt')}"
            )
        check_output(target, overwrite=overwrite)


def check_file_output(path: Path, *, overwrite: bool = False) -> None:
    """Checks that an output replaces no recording, and `device_app.outputs.check_output`.

    Args:
        path: a file that will be written; it need not exist.
        overwrite: an existing file may be replaced, but never a recording or a file in the data folder.

    Raises:
        BadInputError: it would replace one of them; nothing was changed.
    """
    _refuse_recording(path)
    check_output(path, overwrite=overwrite)


def _refuse_recording(path: Path) -> None:
    if path.is_file() and not is_stream(path) and is_recording(path):
        raise BadInputError(
            f"{path}: is a recording, which would be overwritten; nothing was changed. Name another file"
        )


def output_paths(recordings: Sequence[Recording], output: str, suffix: str) -> list[Path]:
    """Returns the output path of each recording's result.

    The result of a single recording is written to `output` itself, unless that is a folder or ends in a slash.
    Otherwise `output` is a folder, and each result has the name of its recording with the new suffix. Results whose
    names would collide keep the old suffix too. A name that is too long for a file is shortened.

    Args:
        recordings: the inputs.
        output: a file or a folder, as the user named it.
        suffix: of the results, without the dot.

    Raises:
        BadInputError: two results would have the same path.
    """
    if len(recordings) == 1 and not output.endswith("/") and not Path(output).is_dir():
        return [Path(output)]
    taken = Counter(recording.relative_path for recording in recordings)
    paths = []
    for recording in recordings:
        old = recording.path.suffix if recording.path and taken[recording.relative_path] > 1 else ""
        ending = f"{old}.{suffix}"
        name = shortened(recording.relative_path.name, MAX_NAME_LENGTH - len(os.fsencode(ending)))
        paths.append(Path(output) / recording.relative_path.with_name(f"{name}{ending}"))
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        names = [one.name for one, path in zip(recordings, paths, strict=True) if path == twice[0]]
        raise BadInputError(
            f"{twice[0]}: the results of {' and of '.join(names[:2])} would be written there; "
            "transcribe them one by one"
        )
    return paths
