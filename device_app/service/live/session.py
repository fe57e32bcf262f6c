"""A live recognition in turns: blocks of PCM in, updates out, the same as from `Transcriber.stream`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from device_app.recognition.results import Transcript, TranscriptSegment, Update
from device_app.recognition.transcriber import Transcriber
from device_app.service.errors import ServiceError
from device_app.service.state import Job

TYPES: Mapping[int, np.dtype[Any]] = {2: np.dtype("<i2"), 4: np.dtype("<i4")}  # of samples, by their width in bytes
MOST_CHANNELS = 8


class LiveSession:
    """Recognises the audio of one connection.

    Attributes:
        audio_s: seconds of audio so far.
        segments: the final segments so far, without their audio.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        job: Job,
        sample_rate: float,
        *,
        width: int = 2,
        channels: int = 1,
        partial_s: float = 0.5,
    ) -> None:
        """
        Args:
            transcriber: the model.
            job: the job of the connection, in whose turns the recognition runs.
            sample_rate: the sample rate of the audio, in Hz.
            width: bytes of a sample, 2 or 4.
            channels: the number of channels, which are interleaved.
            partial_s: seconds of audio between two partial texts; 0 for none.

        Raises:
            ServiceError: the width or the channels are not supported.
            BadAudioError, BadInputError: the rate or `partial_s` is out of range.
        """
        if width not in TYPES or not 1 <= channels <= MOST_CHANNELS:
            raise ServiceError(
                400,
                f"the audio has {width * 8} bits a sample and {channels} channel(s); "
                f"expected samples of 16 or 32 bits (integers) and 1 to {MOST_CHANNELS} channels",
            )
        self._stream = transcriber.stream(sample_rate, partial_s=partial_s)
        self._job, self._rate, self._type, self._channels = job, sample_rate, TYPES[width], channels
        self._rest = b""  # of a sample that the last block cut
        self.audio_s = 0.0
        self.segments: list[TranscriptSegment] = []

    async def feed(self, pcm: bytes) -> list[Update]:
        """Takes the next block of PCM; returns the partial and final texts that it brings.

        A block may have any number of bytes, because a client that reads a pipe cuts samples in two. What the last
        block has of a sample is dropped at the end.
        """
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % (self._type.itemsize * self._channels)
        self._rest = pcm[whole:]
        if not whole:
            return []
        samples = np.frombuffer(pcm[:whole], self._type)
        block = samples if self._channels == 1 else samples.reshape(-1, self._channels)
        self.audio_s += len(block) / self._rate
        return self._noted(await self._job.run(lambda: self._stream.feed(block)))

    async def finish(self) -> list[Update]:
        """Ends the audio; returns the final text of the segment that has begun, if there is one."""
        return self._noted(await self._job.run(self._stream.finish))

    def transcript(self) -> Transcript:
        """All final texts so far."""
        return Transcript(self.segments, self.audio_s)

    def _noted(self, updates: list[Update]) -> list[Update]:
        """Keeps the final segments among the updates; returns the updates."""
        for update in updates:
            if update.is_final:
                self.segments.append(replace(update.segment, audio=None))
        return updates
