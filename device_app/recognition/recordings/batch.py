"""Several recordings at once; results come in the order of the recordings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

from device_app.audio.sources import Recording
from device_app.recognition.recordings.unfinished import UnfinishedTranscript
from device_app.recognition.results import Transcript, TranscriptSegment
from device_app.recognition.transcriber import Transcriber
from editing.errors import AsrEdgeError, IncompleteAudioError


@dataclass(frozen=True)
class Outcome:
    """What became of a recording.

    Attributes:
        recording: the recording.
        transcript: None if the recording could not be read.
        error: what is wrong, if anything; if there is a transcript too, it is of the audio that could be read.
    """

    recording: Recording
    transcript: Transcript | None
    error: AsrEdgeError | None = None


OnSegment = Callable[[Recording, TranscriptSegment], None]
OnProgress = Callable[[Recording, float], None]  # with seconds of audio


class _StoppedError(Exception):
    """The caller no longer reads outcomes; ends the transcription in a thread."""


def transcribe_all(
    transcriber: Transcriber,
    recordings: Sequence[Recording],
    jobs: int = 1,
    *,
    unfinished: Sequence[UnfinishedTranscript] = (),
    on_segment: OnSegment = lambda _recording, _segment: None,
    on_progress: OnProgress = lambda _recording, _seconds: None,
) -> Generator[Outcome, None, None]:
    """Transcribes recordings, in as many threads as there are jobs.

    Args:
        transcriber: one for all; with several jobs it should use few threads itself.
        recordings: in the order in which their outcomes are wanted.
        jobs: recordings at a time.
        unfinished: for each recording, the results of an interrupted run, which are used and added to; empty keeps
            none.
        on_segment: called in the caller's thread, with the segments of one recording after the other. Segments have
            their audio only if there is one job: with more, those of later recordings wait in memory.
        on_progress: called in any thread with the seconds of audio that have been read since its last call for this
            recording.

    Yields:
        An outcome for each recording, in order.
    """
    transcribers = [transcriber.wrapped(known.wrap) for known in unfinished] or [transcriber] * len(recordings)
    if jobs == 1 or len(recordings) == 1:
        for of_recording, recording in zip(transcribers, recordings, strict=True):
            yield _transcribe(of_recording, recording, on_segment, on_progress)
        return
    stop = threading.Event()
    queues = [SimpleQueue[TranscriptSegment | Outcome | BaseException]() for _ in recordings]

    def progress(recording: Recording, seconds: float) -> None:
        if stop.is_set():
            raise _StoppedError
        on_progress(recording, seconds)

    def work(
        of_recording: Transcriber, recording: Recording, queue: SimpleQueue[TranscriptSegment | Outcome | BaseException]
    ) -> None:
        def enqueue(_recording: Recording, segment: TranscriptSegment) -> None:
            queue.put(replace(segment, audio=None))

        try:
            queue.put(_transcribe(of_recording, recording, enqueue, progress))
        except BaseException as error:  # raised again in the caller's thread
            queue.put(error)

    pool = ThreadPoolExecutor(jobs)
    try:
        for of_recording, recording, queue in zip(transcribers, recordings, queues, strict=True):
            pool.submit(work, of_recording, recording, queue)
        for recording, queue in zip(recordings, queues, strict=True):
            while not isinstance(item := queue.get(), Outcome):
                if isinstance(item, BaseException):
                    raise item
                on_segment(recording, item)
            yield item
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def notes(recording: Recording, transcript: Transcript) -> list[str]:
    """What a user should know of a transcript, such as that it has no speech; lines without the recording's name."""
    tracks = recording.tracks
    found = [f"has {tracks} audio tracks, of which only the first was read"] if tracks > 1 else []
    if not transcript.segments:
        found.append("no speech was found in the first track" if found else "no speech was found")
    return found


def _transcribe(
    transcriber: Transcriber, recording: Recording, on_segment: OnSegment, on_progress: OnProgress
) -> Outcome:
    """Transcribes one recording; an error of it becomes part of the outcome."""
    try:
        with recording.opened() as source:
            transcript = transcriber.transcribe_file(
                source,
                recording.name,
                on_segment=lambda segment: on_segment(recording, segment),
                on_progress=lambda seconds: on_progress(recording, seconds),
            )
    except IncompleteAudioError as error:
        return Outcome(recording, error.transcript, error)
    except AsrEdgeError as error:
        return Outcome(recording, None, error)
    return Outcome(recording, transcript)
