"""Decodes the audio of containers with PyAV (extra `media`), past damaged packets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import IO, Any

import numpy as np

from device_app.audio.containers.foreign import raw
from device_app.audio.timeline import Block, Timeline
from editing.errors import BadAudioError, one_line

# Only containers of sound. A playlist or script would make FFmpeg open other files, and addresses on the network.
OPTIONS = {
    "protocol_whitelist": "file,pipe",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,amr,amrnb,amrwb,asf,asf_o,aac,avi,flv,mpeg,mpegts,ac3,"
    "eac3,ape,wv,tta,caf,wav,w64,aiff,au,flac,ogg,mp3,loas,dts,voc,gsm,xwma,mpc,mpc8,tak,shn,rm,oma",
}
CHECKS = {"err_detect": "crccheck"}  # compare the checksums of frames, where a codec has them
MAX_FAILED_READS = 50  # in a row, after which the rest of a file is given up
# FFmpeg's names of formats. The headers of the first declare the duration of the file; of others, it has an estimate.
DECLARING_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf")
ESTIMATING_FORMATS = ("aac", "amr", "caf", "avi")  # FFmpeg estimates the duration of a stream, by bit rate or packets
UNTIMED_FORMATS = ("avi",)  # FFmpeg computes timestamps from a constant bit rate, which need not be constant
PAUSING_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv")  # a gap in the timestamps may be a pause
AMR_FRAME_LENGTHS = {"amrnb": raw.amr_nb, "amrwb": raw.amr_wb}  # by codec: the length of a frame from its first bytes
# FFmpeg's own decoders of AMR do not know the frames by which a phone skips pauses (discontinuous transmission).
BETTER_DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}


def blocks(file: IO[bytes], name: str, timeline: Timeline) -> Iterator[Block]:
    """Decodes the first audio stream; faults go to the timeline.

    Args:
        file: a seekable binary stream.
        name: what to call it in errors.
        timeline: the timeline of the recording, at the start of this file.

    Raises:
        BadAudioError: nothing of it can be decoded, or it has no audio.
    """
    import av

    before_s = timeline.found_s
    with _opened(file, name) as container:
        stream = _first_audio(container, name)
        is_pausing = container.format.name in PAUSING_FORMATS
        is_untimed = container.format.name in UNTIMED_FORMATS
        resampler: Any = None
        setup: Any = None
        for frame in _frames(container, stream, timeline):
            if setup != (frame.format.name, frame.layout.name, frame.sample_rate):  # it changes in joined streams
                setup = (frame.format.name, frame.layout.name, frame.sample_rate)
                resampler = av.AudioResampler("flt", frame.layout, frame.sample_rate)
            gap_s = 0.0 if is_untimed else timeline.gap_s(_seconds(frame.pts, frame.time_base))
            for converted in resampler.resample(frame):
                samples = np.asarray(converted.to_ndarray(), np.float32).reshape(-1, converted.layout.nb_channels)
                yield from timeline.blocks(samples, converted.sample_rate, gap_s, is_pause=is_pausing)
                gap_s = 0.0
        timeline.finish(_duration_s(container, stream))
    if timeline.found_s == before_s:
        raise BadAudioError(f"{name}: its audio cannot be decoded; is it damaged?")


def duration_s(file: IO[bytes], name: str) -> float:
    """Seconds of audio by the container's header; 0 if it does not say.

    Raises:
        BadAudioError: it cannot be read.
    """
    with _opened(file, name) as container:
        return _duration_s(container, _first_audio(container, name))


def tracks(file: IO[bytes]) -> int:
    """Audio tracks in a file; 0 if it cannot be read."""
    try:
        with _opened(file, "") as container:
            return len(container.streams.audio)
    except BadAudioError:
        return 0


def _opened(file: IO[bytes], name: str) -> Any:
    import av

    file.seek(0)
    try:
        return av.open(file, mode="r", options=OPTIONS | CHECKS, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise BadAudioError(f"{name}: not audio that can be read ({_reason(error)}); is it damaged?") from error


def _first_audio(container: Any, name: str) -> Any:
    if not container.streams.audio:
        raise BadAudioError(f"{name}: has no audio")
    if container.streams.audio[0].codec_context is None:
        raise BadAudioError(f"{name}: its audio is of a codec that FFmpeg does not know; is it damaged?")
    return container.streams.audio[0]


def _decoder(stream: Any) -> Any:
    import av

    better = BETTER_DECODERS.get(stream.codec_context.name, "")
    if better not in av.codecs_available:
        stream.codec_context.options = CHECKS
        return stream.codec_context
    decoder = av.CodecContext.create(better, "r")
    decoder.sample_rate, decoder.layout = stream.codec_context.sample_rate, "mono"
    return decoder


def _frames(container: Any, stream: Any, timeline: Timeline) -> Iterator[Any]:
    """The frames of a stream; goes on after errors, which it notes in the timeline."""
    import av

    decoder, packets, failed = _decoder(stream), container.demux(stream), 0
    frame_length = AMR_FRAME_LENGTHS.get(stream.codec_context.name)
    while failed < MAX_FAILED_READS:
        packet, start_s, frames, reason = None, None, [], None
        with _messages_about_damage(stream.index) as errors:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                start_s = _seconds(packet.pts, packet.time_base)
                if frame_length is not None and not _has_whole_frames(bytes(packet), frame_length):
                    reason = "a frame has the wrong size"
                else:
                    frames = decoder.decode(packet if packet.size else None)
            except (av.error.FFmpegError, ValueError) as error:
                reason = _reason(error)
            except IndexError:  # PyAV does not know the streams that FFmpeg finds in damaged FLV
                reason = "what follows is damaged"
        if packet is None:  # the iterator has ended with the error
            packets, failed = container.demux(stream), failed + 1
        else:
            failed = 0
        if reason is not None or errors:
            timeline.note_error(reason or one_line(errors[0].strip().rstrip(".")), start_s)
        yield from frames


def _has_whole_frames(data: bytes, frame_length: Callable[[bytes], int]) -> bool:
    """Whether a packet is made of whole frames, which OpenCORE does not check."""
    position = 0
    while position < len(data):
        length = frame_length(data[position:])
        if not length:
            return False
        position += length
    return position == len(data)


def _seconds(timestamp: int | None, time_base: Any) -> float | None:
    return None if timestamp is None or not time_base else float(timestamp * time_base)


def _reason(error: Exception) -> str:
    reason = one_line(str(getattr(error, "strerror", None) or error))
    return "decoder error" if reason.startswith("Error number") else reason


@cache
def _turn_messages_on() -> None:
    """Lets PyAV pass FFmpeg's messages on, for the life of the process.

    To turn them off again would race with the messages of other threads, as would another level for each reader.
    """
    import av

    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    # Those that nobody captures would be printed: other threads' and those about opening a file.
    logging.getLogger("libav").addHandler(logging.NullHandler())


@contextmanager
def _messages_about_damage(stream: int) -> Iterator[list[str]]:
    """Yields a list, filled when the block ends: this thread's messages about damage, which most decoders only log.

    Args:
        stream: index of the stream that is read; damage of the others does not matter.
    """
    import av

    _turn_messages_on()
    messages: list[str] = []
    try:
        with av.logging.Capture() as captured:
            yield messages
    finally:
        messages += [text for level, _, text in captured if _is_damage(level, text, stream)]


def _is_damage(level: int, text: str, stream: int) -> bool:
    import av

    return level <= av.logging.ERROR or text.startswith(f"Packet corrupt (stream = {stream},")


def _duration_s(container: Any, stream: Any) -> float:
    """Seconds of a stream as the file declares them; 0 if it does not."""
    if stream.duration and stream.time_base and container.format.name not in ESTIMATING_FORMATS:
        return float(stream.duration * stream.time_base)
    # Matroska and ASF declare only a duration of the file, which may count from 0 where the first timestamp is later.
    if container.duration and len(container.streams) == 1 and container.format.name in DECLARING_FORMATS:
        return max(0.0, float((container.duration - max(0, container.start_time or 0)) / 1_000_000))
    return 0.0
