"""One take at the microphone: when it begins and ends, by voice or by a key."""

from __future__ import annotations

from collections import deque

import numpy as np

from device_app.audio.samples import Converter, Samples
from device_app.audio.vad import Segmenter, SegmentSettings, VoiceActivity
from device_app.data.importing import LONGEST_S

BEFORE_S = 1.0  # kept from before the voice was noticed
SPARE_S = 1.0  # below the longest utterance, for the silence around the speech


class TakeRecorder:
    """Takes the microphone's blocks, and knows when the sentence is over.

    Attributes:
        sample_rate: of the blocks, in Hz.
        has_begun: somebody is speaking, or the key was pressed.
        has_ended: the take is complete; no block need follow.
    """

    def __init__(self, sample_rate: float, voice: VoiceActivity, silence_s: float) -> None:
        """
        Args:
            sample_rate: of the blocks, in Hz.
            voice: notices speech.
            silence_s: this much silence after speech ends the take.
        """
        self.sample_rate = sample_rate
        self.has_begun = False
        self.has_ended = False
        self._by_key = False
        self._convert = Converter(sample_rate)
        self._segmenter = Segmenter(voice, SegmentSettings(silence_s=silence_s, longest_s=2 * LONGEST_S))
        self._before: deque[Samples] = deque()
        self._blocks: list[Samples] = []

    def feed(self, block: Samples) -> None:
        """Takes the next block, (samples,), as the device gives it."""
        is_over = bool(list(self._segmenter.feed(self._convert(block))))
        if self.has_begun:
            self._blocks.append(block)
        else:
            self._before.append(block)
            while (sum(map(len, self._before)) - len(self._before[0])) / self.sample_rate >= BEFORE_S:
                self._before.popleft()
            if is_over or self._segmenter.current() is not None:
                self.has_begun = True
        if (is_over and not self._by_key) or self.seconds >= LONGEST_S - SPARE_S:
            self.has_ended = True

    def press(self) -> None:
        """The key: begins the take, which then ends by the key alone; or ends it."""
        if self.has_begun:
            self.has_ended = True
        else:
            self._by_key = True
            self.has_begun = True

    @property
    def seconds(self) -> float:
        """Of audio since the take began."""
        return sum(map(len, self._blocks)) / self.sample_rate

    @property
    def audio(self) -> Samples:
        """The take, (samples,) at the device's rate, with what was kept from before the voice."""
        return np.concatenate([*self._before, *self._blocks, np.zeros(0, np.float32)])
