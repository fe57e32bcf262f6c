"""Decodes the audio of containers with the program ffmpeg, where PyAV is not installed."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO

import numpy as np
from numpy.typing import NDArray

from device_app.audio.pyav import CHECKS, DECLARING_FORMATS, OPTIONS, PAUSING_FORMATS, UNTIMED_FORMATS
from device_app.audio.timeline import Block, Timeline
from editing.errors import BadAudioError, StorageError, one_line

# Messages have their level, and ashowinfo prints the timestamp of each frame before its samples are written.
FFMPEG_INPUT = ("-hide_banner", "-nostdin", "-nostats", "-v", "level+info")
FFMPEG_OUTPUT = ("-map", "0:a:0", "-af", "ashowinfo", "-c:a", "pcm_f32be", "-f", "au", "-")
AU_HEADER = 24  # bytes
CHUNK = 1 << 20  # samples per channel read at a time after the last frame that was announced

MESSAGE = re.compile(r"(?:\[[^\]]* @ [^\]]*\] )*\[(\w+)\] (.*)")
FRAME = re.compile(r"n: *\d+ pts:\S+ pts_time:(\S+) .* nb_samples:(\d+) ")
STREAM = re.compile(r" *Stream #0:(\d+)\S*: (\w+): ")
INPUT = re.compile(r"Input #0, (\S+), from ")
DURATION = re.compile(r" *Duration: (\d+):(\d\d):(\d\d\.\d+)")


def blocks(program: str, source: Path | IO[bytes], name: str, timeline: Timeline) -> Iterator[Block]:
    """Decodes the first audio stream; faults go to the timeline.

    Args:
        program: path of ffmpeg.
        source: a path, or a seekable binary stream, which is copied to a temporary file.
        name: what to call it in errors.
        timeline: the timeline of the recording, at the start of this file.

    Raises:
        BadAudioError: nothing of it can be decoded, or it has no audio.
        StorageError: there is no room for the temporary file.
    """
    before_s = timeline.found_s
    with ExitStack() as stack:
        path = source if isinstance(source, Path) else _copied(source, stack)
        process = stack.enter_context(_started(program, path, FFMPEG_OUTPUT))
        stack.callback(process.kill)  # if the caller stops early; else it has ended
        assert process.stdout is not None  # noqa: S101 - for mypy
        log = _Log()
        output = _Output(process.stdout)
        for frame in log.frames(_lines(process), timeline):
            samples = output.read(frame.samples)
            if not len(samples):
                break
            gap_s = 0.0 if log.is_untimed else timeline.gap_s(frame.start_s)
            yield from timeline.blocks(samples, output.rate, gap_s, is_pause=log.is_pausing)
        while len(samples := output.read(CHUNK)):
            yield from timeline.blocks(samples, output.rate)
        timeline.finish(log.duration_s)
        status = process.wait()
    reason = log.error or f"exit code {status}"
    if timeline.found_s == before_s:
        raise BadAudioError(
            f"{name}: " + ("has no audio" if log.has_no_audio else f"not audio that can be read ({reason})")
        )
    if status:
        timeline.note(reason)


def tracks(program: str, source: Path) -> int:
    """Audio tracks in a file; 0 if it cannot be read."""
    with _started(program, source, ()) as process:
        log = _Log()
        for _ in log.frames(_lines(process), Timeline()):
            pass
    return log.tracks


def _started(program: str, path: Path, output: tuple[str, ...]) -> subprocess.Popen[bytes]:
    options = [argument for option, value in (OPTIONS | CHECKS).items() for argument in (f"-{option}", value)]
    return subprocess.Popen(  # noqa: S603 - no shell, and the name cannot be an option
        [program, *FFMPEG_INPUT, *options, "-i", f"file:{path}", *output],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The messages of ffmpeg. A thread reads them: with a full pipe, ffmpeg would wait, and its samples never come."""
    lines: Queue[bytes | None] = Queue()

    def read() -> None:
        assert process.stderr is not None  # noqa: S101 - for mypy
        for line in process.stderr:
            lines.put(line)
        lines.put(None)

    Thread(target=read, daemon=True).start()
    while (line := lines.get()) is not None:
        yield line.decode(errors="replace")


class _Frame:
    """A decoded frame.

    Attributes:
        start_s: its timestamp in seconds; None if it has none.
        samples: samples per channel.
    """

    def __init__(self, match: re.Match[str]) -> None:
        start, samples = match.groups()
        self.start_s = None if start == "NOPTS" else float(start)
        self.samples = int(samples)


class _Log:
    """Reads what ffmpeg logs about a file.

    Attributes:
        duration_s: seconds by the header of the container; 0 if it does not say.
        is_pausing: see `PAUSING_FORMATS`.
        is_untimed: see `UNTIMED_FORMATS`.
        tracks: number of audio streams.
        error: the last error; None if there was none.
    """

    def __init__(self) -> None:
        self.duration_s = 0.0
        self.is_pausing = False
        self.is_untimed = False
        self.tracks = 0
        self.error: str | None = None
        self._streams = 0
        self._audio: str | None = None  # index of the first audio stream
        self._format = ""
        self._is_input = True  # the lines describe the input, not the output

    @property
    def has_no_audio(self) -> bool:
        """Whether it is a container without audio."""
        return bool(self._streams) and not self.tracks

    def frames(self, lines: Iterator[str], timeline: Timeline) -> Iterator[_Frame]:
        """The frames, as they are decoded; errors go to the timeline."""
        for line in lines:
            if (message := MESSAGE.match(line)) is None:
                continue
            level, text = message.groups()
            if frame := FRAME.match(text):
                yield _Frame(frame)
            elif level in ("error", "fatal", "panic") or text.startswith(f"Packet corrupt (stream = {self._audio},"):
                self.error = one_line(text.strip().rstrip("."))
                timeline.note_error(self.error)
            elif text.startswith(("Stream mapping:", "Output #0")):
                self._is_input = False
            elif self._is_input:
                self._note_header(text)

    def _note_header(self, text: str) -> None:
        if found := INPUT.match(text):
            self._format = found[1]
            self.is_pausing = self._format in PAUSING_FORMATS
            self.is_untimed = self._format in UNTIMED_FORMATS
        elif (found := DURATION.match(text)) and self._format in DECLARING_FORMATS:
            hours, minutes, seconds = found.groups()
            self.duration_s = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        elif found := STREAM.match(text):
            self._streams += 1
            if found[2] == "Audio":
                self.tracks += 1
                self._audio = self._audio or found[1]
            elif self._format != DECLARING_FORMATS[0]:
                self.duration_s = 0.0  # it may be that of another stream


class _Output:
    """The samples that ffmpeg writes, in an .au file.

    Attributes:
        rate: in Hz; 0 before the first `read`, and if there is no audio.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.rate = 0
        self._file = file
        self._channels = 0

    def read(self, count: int) -> NDArray[np.float32]:
        """The next `count` samples, (samples, channels); fewer at the end."""
        if not self._channels:
            header = self._file.read(AU_HEADER)
            if len(header) < AU_HEADER:
                return np.zeros((0, 1), np.float32)
            _magic, offset, _length, _encoding, self.rate, self._channels = struct.unpack(">4s5I", header)
            self._file.read(offset - AU_HEADER)
        width = 4 * self._channels
        data = self._file.read(count * width)
        whole = data[: len(data) // width * width]
        return np.frombuffer(whole, ">f4").reshape(-1, self._channels).astype(np.float32)


def _copied(source: IO[bytes], stack: ExitStack) -> Path:
    """A temporary file with the content of a stream, since ffmpeg must seek in it; `stack` removes the file."""
    source.seek(0)
    try:
        file = stack.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(source, file)
        file.flush()
    except OSError as error:
        raise StorageError(
            f"a recording cannot be kept while it is read ({error.strerror}); free some space"
        ) from error
    return Path(file.name)
