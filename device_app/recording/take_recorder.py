"""Records one take (an utterance that is not saved yet) from the microphone; voice or a key starts and ends it."""

from __future__ import annotations

from collections import deque

import numpy as np

from device_app.audio.samples import Converter, Samples
from device_app.audio.vad import Segmenter, SegmentSettings, VoiceActivity
from device_app.data.importing import MAX_UTTERANCE_S

PRE_ROLL_S = 1.0  # audio kept from before the detected start of speech
MARGIN_S = 1.0  # a take ends so much before it is too long for an utterance, because the pre-roll is added to it


class TakeRecorder:
    """Collects blocks from the microphone and detects the end of the sentence.

    Attributes:
        sample_rate: the sampling rate of the blocks, in Hz.
        has_begun: whether speech was detected or the key was pressed.
        has_ended: whether the take is complete.
    """

    def __init__(self, sample_rate: float, voice: VoiceActivity, silence_s: float) -> None:
        """
        Args:
            sample_rate: the sampling rate of the blocks, in Hz.
            voice: the voice activity detector.
            silence_s: duration of silence after speech that ends the take.
        """
        self.sample_rate = sample_rate
        self.has_begun = False
        self.has_ended = False
        self._started_by_key = False
        self._convert = Converter(sample_rate)
        # Longer than any take, so that only silence ends a segment; `feed` limits the take itself.
        self._segmenter = Segmenter(voice, SegmentSettings(silence_s=silence_s, longest_s=2 * MAX_UTTERANCE_S))
        self._pre_roll: deque[Samples] = deque()
        self._blocks: list[Samples] = []

    def feed(self, block: Samples) -> None:
        """Adds the next block, (samples,), at the sampling rate of the device."""
        speech_ended = bool(list(self._segmenter.feed(self._convert(block))))
        if self.has_begun:
            self._blocks.append(block)
        else:
            self._pre_roll.append(block)
            # Removes the oldest block while the others have at least PRE_ROLL_S.
            while (sum(map(len, self._pre_roll)) - len(self._pre_roll[0])) / self.sample_rate >= PRE_ROLL_S:
                self._pre_roll.popleft()
            if speech_ended or self._segmenter.current() is not None:
                self.has_begun = True
        if (speech_ended and not self._started_by_key) or self.seconds >= MAX_UTTERANCE_S - MARGIN_S:
            self.has_ended = True

    def press(self) -> None:
        """Handles the key: starts a take, which then only the key or the maximal duration ends; or ends a take."""
        if self.has_begun:
            self.has_ended = True
        else:
            self._started_by_key = True
            self.has_begun = True

    @property
    def seconds(self) -> float:
        """Duration of the take without its pre-roll."""
        return sum(map(len, self._blocks)) / self.sample_rate

    @property
    def audio(self) -> Samples:
        """The take with its pre-roll, (samples,) at the sampling rate of the device."""
        # The empty array allows concatenation before the first block.
        return np.concatenate([*self._pre_roll, *self._blocks, np.zeros(0, np.float32)])
