"""Transcribes uploaded recordings in turns, a block of audio at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import IO

from device_app.audio.samples import SAMPLE_RATE, Samples, read_blocks
from device_app.recognition.results import Transcript, TranscriptSegment
from device_app.recognition.transcriber import Transcriber
from device_app.service.state import Job
from editing.errors import IncompleteAudioError, one_line


class RecordingTranscription:
    """The transcription of one recording.

    Attributes:
        warning: what is wrong with the recording, if it is damaged or cut off; the transcript ends there.
    """

    def __init__(self, transcriber: Transcriber, source: IO[bytes], name: str) -> None:
        """
        Args:
            transcriber: the model.
            source: the recording, seekable. The caller closes it.
            name: what to call it in errors.
        """
        self.warning = ""
        self._source, self._name = source, one_line(name, 100)
        self._samples = 0  # that have been read, at 16 kHz
        self._segments: list[TranscriptSegment] = []
        self._steps = transcriber.segments_by_block(self._blocks())

    async def segments(self, job: Job) -> AsyncIterator[TranscriptSegment]:
        """Yields each segment when it is recognised.

        Raises:
            BadAudioError: the recording cannot be read.
        """
        while (found := await job.run(self._step)) is not None:
            for segment in found:
                self._segments.append(replace(segment, audio=None))
                yield self._segments[-1]

    def transcript(self) -> Transcript:
        """The transcript so far."""
        return Transcript(self._segments, self._samples / SAMPLE_RATE)

    def _step(self) -> list[TranscriptSegment] | None:
        """Recognises the next block; returns the segments that ended in it, or None at the end of the recording."""
        return next(self._steps, None)

    def _blocks(self) -> Iterator[Samples]:
        try:
            for block in read_blocks(self._source, self._name):
                self._samples += len(block)
                yield block
        except IncompleteAudioError as error:  # the segment that has begun is still recognised
            self.warning = str(error)
