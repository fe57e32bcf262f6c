"""Decodes recordings of any format into blocks of samples, without resampling, and detects missing samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from device_app.audio import containers, media
from device_app.audio.containers import flac
from device_app.audio.containers.view import HEADER_TOLERANCE_S, Part, View, skip_id3
from device_app.audio.native_messages import without_mpg123_messages
from device_app.audio.timeline import Block
from editing.errors import BadAudioError, IncompleteAudioError

MAX_DURATION_S = 100 * 3600.0  # if a header claims more, it is wrong or means that the length is unknown
MAX_BLOCK = 4_000_000  # samples of all channels in a block, 16 MB as float32
SMALL_BLOCK = 64  # samples per channel; the last audio before an error is read in such blocks, see `_before_error`
MAX_DAMAGE_S = 60.0  # most silence in place of damaged FLAC frames: a damaged header may claim any length
# If a file has fewer bits for each second that its header claims, the samples are counted by decoding them, which is
# fast for so small a file.
MIN_BITS_PER_S = 1000


def decoded(source: Path | IO[bytes], name: str, block_s: float) -> Iterator[Block]:
    """Reads a file to its end, whatever length its header declares; joined files are read one after another.

    Args:
        source: a path, or a seekable binary stream.
        name: name of the recording in error messages.
        block_s: seconds per block.

    Yields:
        Blocks at the file's own sampling rate; only joined files may change it, and the number of channels.

    Raises:
        BadAudioError: it is missing, empty, or not audio.
        IncompleteAudioError: it is damaged or cut off; raised after the last block that can be decoded.
    """
    with ExitStack() as stack:
        file = _file(source, name, stack)
        progress = _Progress()
        try:
            yield from _decoded_parts(containers.parts(file) or [_whole(file)], block_s, progress, name)
        except _DecoderError as error:
            yield from _decode_with_media(source, file, name, error)
            return
        if progress.fault:
            raise (IncompleteAudioError if progress.seconds else BadAudioError)(f"{name}: {progress.fault}")


def duration_s(path: Path) -> float:
    """Seconds of audio in a file, from its structure and header; 0 if a container does not declare its length.

    Raises:
        BadAudioError: as `decoded`.
    """
    with ExitStack() as stack:
        file = _file(path, str(path), stack)
        size = file.seek(0, 2)
        total_s = 0.0
        fault: _DecoderError | None = None
        for part in containers.parts(file) or [_whole(file)]:
            try:
                opened = _open(part, stack)
            except _DecoderError as error:
                fault = error
                continue
            frames = part.samples or part.declared or opened.frames
            seconds = frames / opened.samplerate
            if seconds * MIN_BITS_PER_S > size * 8:
                seconds = _count_samples(opened, part) / opened.samplerate
            total_s += seconds
        if fault is None or total_s:
            return total_s
        if not _may_use_media(fault):
            raise _unreadable(file, str(path), fault) from fault
        return media.duration_s(path)


def tracks(path: Path) -> int:
    """Audio tracks in a file, of which `decoded` reads the first; 0 if that is not known."""
    try:
        with path.open("rb") as file:
            is_foreign = containers.is_foreign(file)
        return media.tracks(path) if is_foreign else 1
    except OSError:
        return 0


def is_audio(path: Path) -> bool:
    """Whether the content of a file is audio, even if it is damaged."""
    try:
        with ExitStack() as stack:
            file = _file(path, str(path), stack)
            if containers.is_foreign(file):
                return True
            parts = containers.parts(file)
            if not parts:
                _open(_whole(file), stack)
            return True
    except (BadAudioError, _DecoderError):
        return False


def may_become_audio(start: IO[bytes], name: str) -> bool:
    """Whether a recording with this start may be audio.

    True if the start can be decoded, or if only the rest of the recording can show it: the start is of a container for
    FFmpeg, such as MP4 with its index at the end, or is filled by a tag.

    Args:
        start: the first bytes of the recording as a seekable stream; its position changes.
        name: name of the recording.
    """
    if containers.is_foreign(start) or skip_id3(start, 0) >= start.seek(0, 2):
        return True
    try:
        return next(decoded(start, name, 1.0), None) is not None
    except BadAudioError:
        return False


class _DecoderError(Exception):
    """libsndfile cannot open a stream, or decode its next block."""


class _ReadError(_DecoderError):
    """A read of the file failed (OSError)."""


@dataclass
class _Progress:
    """What was read of a file.

    Attributes:
        seconds: audio in the parts that were decoded, with silence in place of damage.
        fault: the first fault, as a message without the name of the file; None if there was none.
    """

    seconds: float = 0.0
    fault: str | None = None

    def note(self, fault: str | None) -> None:
        """Keeps a fault if it is the first."""
        self.fault = self.fault or fault


def _decoded_parts(parts: Iterable[Part], block_s: float, progress: _Progress, name: str) -> Iterator[Block]:
    """Yields the blocks of all parts; notes which of them cannot be decoded.

    Raises:
        _DecoderError: the last part cannot be opened, and nothing was decoded before it.
    """
    remaining = deque(parts)
    while remaining:
        part = remaining.popleft()
        if _is_damaged_alac(part, name):
            yield from _decode_part_with_media(part, name, progress)
            continue
        try:
            rest = yield from _decoded_part(part, block_s, progress)
        except _DecoderError as error:
            progress.note(f"damaged after {progress.seconds:.1f} s ({error})")
            if not remaining and not progress.seconds:
                raise
            continue
        if rest is not None:
            remaining.appendleft(rest)


def _decoded_part(part: Part, block_s: float, progress: _Progress) -> Generator[Block, None, Part | None]:
    """Yields the blocks of a part, and silence for damaged audio; returns what follows the damage.

    Raises:
        _DecoderError: the part cannot be opened.
    """
    rest = None
    with ExitStack() as stack:
        opened = _open(part, stack)
        rate, found = opened.samplerate, 0
        try:
            for block in _blocks(part, opened, _block_size(opened, block_s)):
                found += len(block)
                yield block, rate
        except _DecoderError as error:
            # If all declared samples were decoded, only what follows them is damaged.
            if part.declared is None or found < part.declared - HEADER_TOLERANCE_S * rate:
                progress.note(f"damaged after {progress.seconds + found / rate:.1f} s ({error})")
                rest = flac.after_damage(part, part.first + found)
        if rest is not None:
            missing = min(rest.first - part.first - found, round(MAX_DAMAGE_S * rate))
            yield np.zeros((missing, opened.channels), np.float32), rate
            found += missing
        progress.note(_shortage(part, opened, found, progress.seconds))
        progress.seconds += found / rate
    return rest


def _file(source: Path | IO[bytes], name: str, stack: ExitStack) -> IO[bytes]:
    try:
        if not isinstance(source, Path):
            return source
        if source.stat().st_size == 0:
            raise BadAudioError(f"{name}: the file is empty")
        return stack.enter_context(source.open("rb"))
    except OSError as error:
        raise BadAudioError(f"{name}: {error.strerror or error}") from error


def _whole(file: IO[bytes]) -> Part:
    # Headers of unknown formats may make libsndfile try libmpg123.
    return Part(View(file, [(0, file.seek(0, 2))]), may_use_mpg123=True, is_unknown_format=True)


def _without_messages(part: Part) -> AbstractContextManager[None]:
    return without_mpg123_messages() if part.may_use_mpg123 else nullcontext()


def _open(part: Part, stack: ExitStack) -> Any:
    """libsndfile's decoder of a part, a `SoundFile`; `stack` closes it.

    Raises:
        _DecoderError: libsndfile cannot open it.
    """
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]
        """Never seeks. SoundFile seeks after every block, which disturbs decoders and fails for some formats."""

        def seekable(self) -> bool:
            return False

    part.file.seek(0)  # libsndfile takes the position for the start of the file
    try:
        with _without_messages(part):
            return stack.enter_context(Sequential(part.file))
    except soundfile.LibsndfileError as error:
        raise _error(part, error) from error


def _error(part: Part, error: Any) -> _DecoderError:
    """Why decoding a part failed; the message fits into a sentence."""
    return _read_error(part) or _DecoderError(str(error.error_string).removeprefix("Error : ").rstrip(". "))


def _read_error(part: Part) -> _ReadError | None:
    """The error if a read of its file failed, which the decoder takes for the end of the file; None if none failed."""
    failure = part.file.failure
    return None if failure is None else _ReadError(failure.strerror or str(failure))


def _read(opened: Any, part: Part, count: int) -> NDArray[np.float32]:
    """The next block, (samples, channels); it is shorter at the end, and empty after it."""
    import soundfile

    try:
        with _without_messages(part):
            block: NDArray[np.float32] = opened.read(count, dtype="float32", always_2d=True)
        return block
    except soundfile.LibsndfileError as error:
        raise _error(part, error) from error


def _blocks(part: Part, opened: Any, count: int) -> Iterator[NDArray[np.float32]]:
    """The blocks of a part, (samples, channels); raises `_DecoderError` after the last sample that can be decoded."""
    found = 0
    try:
        while len(block := _read(opened, part, count)):
            found += len(block)
            yield block
    except _DecoderError:
        yield from _before_error(part, found)
        raise
    if (error := _read_error(part)) is not None:  # the decoder has given all that could be read
        raise error


def _before_error(part: Part, start: int) -> Iterator[NDArray[np.float32]]:
    """The samples from the index `start` to an error: libsndfile drops the whole block in which an error occurs."""
    part.file.seek(0)
    with ExitStack() as stack, suppress(_DecoderError):
        opened = _open(part, stack)
        while start and len(skipped := _read(opened, part, min(start, MAX_BLOCK // opened.channels))):
            start -= len(skipped)
        while len(block := _read(opened, part, SMALL_BLOCK)):
            yield block


def _block_size(opened: Any, block_s: float) -> int:
    """Samples per channel in a block; limited, as a damaged header may claim an impossible rate or channel count."""
    size: int = max(1, min(round(opened.samplerate * block_s), MAX_BLOCK // opened.channels))
    return size


def _count_samples(opened: Any, part: Part) -> int:
    """Samples per channel, by decoding them."""
    count = 0
    try:
        while len(block := _read(opened, part, _block_size(opened, 1.0))):
            count += len(block)
    except _DecoderError:
        pass
    return count


def _shortage(part: Part, opened: Any, found: int, before_s: float) -> str | None:
    """A message that a part is incomplete, and how much of it could be read; None if it is complete."""
    rate = opened.samplerate
    declared = part.declared
    if declared is None and part.is_unknown_format:
        declared = opened.frames
    found_s = before_s + found / rate
    if declared is not None and declared <= MAX_DURATION_S * rate and found < declared - HEADER_TOLERANCE_S * rate:
        return f"damaged or cut off: {found_s:.1f} s of {before_s + declared / rate:.1f} s could be read"
    if part.samples is not None and found < part.samples - HEADER_TOLERANCE_S * rate:
        return f"damaged: {found_s:.1f} s of {before_s + part.samples / rate:.1f} s could be read"
    if part.is_cut:
        return f"damaged or cut off after {found_s:.1f} s"
    is_plausible = opened.frames <= MAX_DURATION_S * rate
    if part.is_ogg and is_plausible and found < opened.frames - HEADER_TOLERANCE_S * rate:  # damaged pages are skipped
        return f"damaged: {found_s:.1f} s of {before_s + opened.frames / rate:.1f} s could be read"
    return None


def _decode_with_media(source: Path | IO[bytes], file: IO[bytes], name: str, error: _DecoderError) -> Iterator[Block]:
    """Decodes by FFmpeg what libsndfile cannot open, as `error` says; `file` is the opened source."""
    if not _may_use_media(error):
        raise _unreadable(file, name, error)
    yield from media.blocks(source, name)


def _is_damaged_alac(part: Part, name: str) -> bool:
    """Whether a part is ALAC with damaged packets, which only FFmpeg reports. It decodes the part for that, fast."""
    if not (containers.is_alac(_stream(part)) and media.is_available()):
        return False
    try:
        for _ in media.blocks(_stream(part), name):
            pass
    except IncompleteAudioError:
        return True
    except BadAudioError:  # FFmpeg cannot decode it, but libsndfile may
        return False
    return False


def _stream(part: Part) -> IO[bytes]:
    return cast("IO[bytes]", part.file)


def _decode_part_with_media(part: Part, name: str, progress: _Progress) -> Iterator[Block]:
    try:
        for block, rate in media.blocks(_stream(part), name):
            yield block, rate
            progress.seconds += len(block) / rate
    except BadAudioError as error:
        progress.note(str(error).removeprefix(f"{name}: "))


def _may_use_media(error: _DecoderError) -> bool:
    return media.is_available() and not isinstance(error, _ReadError)


def _unreadable(file: IO[bytes], name: str, error: _DecoderError) -> BadAudioError:
    """The error for the user about a file of which nothing could be decoded."""
    if isinstance(error, _ReadError):
        return BadAudioError(f"{name}: {error}")
    if containers.is_foreign(file) or Path(name).suffix.lower() in media.SUFFIXES:
        return BadAudioError(f"{name}: this format needs PyAV or ffmpeg: {media.HINT}")
    return BadAudioError(f"{name}: not audio that can be read ({error}); try WAV, FLAC, OGG or MP3")
