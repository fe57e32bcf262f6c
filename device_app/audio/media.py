"""Containers that libsndfile does not read (MP4, WebM, Matroska, AMR, WMA): through PyAV, or the program ffmpeg."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.containers import mp4
from device_app.extras import how_to_install, missing_packages
from editing.errors import BadAudioError, IncompleteAudioError, MissingDependencyError, StorageError, one_line

_NAMES = "m4a m4b mp4 m4v mov 3gp 3g2 aac webm weba mkv mka amr awb wma wmv asf avi flv mpg mpeg m2ts ac3 ape wv tta"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
HINT = f"{how_to_install('media')}, or install the program ffmpeg"
TOLERANCE_S = 0.5  # a container's duration may include the end of the video or of an edit
CHUNK = 1 << 16
FFMPEG_OUTPUT = ("-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "-")

# Only containers of sound. A playlist or script would make FFmpeg open other files, and addresses on the network.
OPTIONS = {
    "protocol_whitelist": "file,pipe",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,amr,amrnb,amrwb,asf,asf_o,aac,avi,flv,mpeg,mpegts,ac3,"
    "eac3,ape,wv,tta,caf,wav,w64,aiff,au,flac,ogg,mp3,loas,dts,voc,gsm,xwma,mpc,mpc8,tak,shn,rm,oma",
}

Block = tuple[NDArray[np.float32], int]  # (samples, channels), and the sampling rate in Hz


def is_available() -> bool:
    """Whether PyAV or ffmpeg is installed."""
    return _has_pyav() or _ffmpeg() is not None


def blocks(source: Path | IO[bytes], name: str) -> Iterator[Block]:
    """Decodes the first audio stream of a file.

    Args:
        source: a path or a seekable binary stream.
        name: what to call it in errors.

    Raises:
        BadAudioError: it is damaged or has no audio.
        IncompleteAudioError: it is cut off, or another file follows in it; what was yielded before is sound.
        MissingDependencyError: neither PyAV nor ffmpeg is installed.
    """
    if _has_pyav():
        yield from _pyav_blocks(source, name)
    elif (program := _ffmpeg()) is not None:
        yield from _ffmpeg_blocks(program, source, name)
    else:
        raise MissingDependencyError(f"{name}: this format needs PyAV or ffmpeg: {HINT}")
    with ExitStack() as stack:
        if mp4.has_second_file(stack.enter_context(source.open("rb")) if isinstance(source, Path) else source):
            raise IncompleteAudioError(
                f"{name}: two MP4 files, one after the other, of which only the first can be read; "
                "transcribe them one by one"
            )


def _has_pyav() -> bool:
    return not missing_packages("media")


def _ffmpeg() -> str | None:
    return shutil.which("ffmpeg")


def _opened(source: Path | IO[bytes], name: str) -> Any:
    import av

    if not isinstance(source, Path):
        source.seek(0)
    try:
        file = f"file:{source}" if isinstance(source, Path) else source
        return av.open(file, mode="r", options=OPTIONS, metadata_errors="replace")  # not the mode of a temporary file
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise BadAudioError(f"{name}: not audio that can be read ({_reason(error)}); is it damaged?") from error


def _reason(error: Exception) -> str:
    return one_line(str(getattr(error, "strerror", None) or error))


def _pyav_blocks(source: Path | IO[bytes], name: str) -> Iterator[Block]:
    import av

    with ExitStack() as stack:
        if isinstance(source, Path):  # a path that is not UTF-8 cannot be given to FFmpeg
            source = stack.enter_context(source.open("rb"))
        container = stack.enter_context(_opened(source, name))
        if not container.streams.audio:
            raise BadAudioError(f"{name}: has no audio")
        stream = container.streams.audio[0]
        resampler = None
        found_s = 0.0
        try:
            for frame in container.decode(stream):
                if resampler is None:
                    resampler = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                for converted in resampler.resample(frame):
                    found_s += converted.samples / converted.sample_rate
                    yield np.asarray(converted.to_ndarray().T, np.float32), converted.sample_rate
        except (av.error.FFmpegError, ValueError) as error:
            if not found_s:
                raise BadAudioError(f"{name}: its audio cannot be decoded ({_reason(error)})") from error
            raise IncompleteAudioError(f"{name}: damaged after {found_s:.1f} s ({_reason(error)})") from error
        promised_s = _pyav_duration(container, stream)
        if found_s < promised_s - TOLERANCE_S:
            raise IncompleteAudioError(
                f"{name}: damaged or cut off: {found_s:.1f} s of {promised_s:.1f} s could be read"
            )


def duration_s(source: Path) -> float:
    """Seconds of audio by the container's header; 0 if it does not say, or only ffmpeg could read it.

    Raises:
        BadAudioError: it cannot be read.
        MissingDependencyError: neither PyAV nor ffmpeg is installed.
    """
    if _has_pyav():
        with source.open("rb") as file, _opened(file, str(source)) as container:
            if not container.streams.audio:
                raise BadAudioError(f"{source}: has no audio")
            return _pyav_duration(container, container.streams.audio[0])
    if _ffmpeg() is None:
        raise MissingDependencyError(f"{source}: this format needs PyAV or ffmpeg: {HINT}")
    return 0.0


def _pyav_duration(container: Any, stream: Any) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Raw streams (AAC, AMR) only have an estimate by the bit rate; Matroska and ASF have no duration for each stream.
    if container.duration and len(container.streams) == 1 and container.format.name in ("matroska,webm", "asf"):
        return float(container.duration / 1_000_000)
    return 0.0


def _ffmpeg_blocks(program: str, source: Path | IO[bytes], name: str) -> Iterator[Block]:
    with ExitStack() as stack:
        path = source if isinstance(source, Path) else _copied(source, stack)
        messages = stack.enter_context(tempfile.TemporaryFile())
        options = [part for option, value in OPTIONS.items() for part in (f"-{option}", value)]
        process = stack.enter_context(
            subprocess.Popen(  # noqa: S603 - no shell, and the name cannot be an option
                [program, "-nostdin", "-v", "error", *options, "-i", f"file:{path}", *FFMPEG_OUTPUT],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
            )
        )
        stack.callback(process.kill)  # if the caller stops early; else it has ended
        assert process.stdout is not None  # noqa: S101 - for mypy
        found_s = 0.0
        header = process.stdout.read(24)
        if len(header) == 24:
            _magic, offset, _length, _encoding, rate, channels = struct.unpack(">4s5I", header)
            process.stdout.read(offset - 24)
            while data := process.stdout.read(CHUNK * channels):
                block = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], ">f4")
                found_s += len(block) / channels / rate
                yield block.reshape(-1, channels).astype(np.float32), rate
        status = process.wait()
        messages.seek(0)
        lines = messages.read().decode(errors="replace").strip().splitlines()
        reason = one_line(lines[-1]) if lines else f"exit code {status}"
        if not found_s:
            raise BadAudioError(f"{name}: not audio that can be read ({reason})")
        if status or lines:
            raise IncompleteAudioError(f"{name}: damaged or cut off: {found_s:.1f} s could be read ({reason})")


def _copied(source: IO[bytes], stack: ExitStack) -> Path:
    """A file with the content of a stream, for a program that must go back in it."""
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
