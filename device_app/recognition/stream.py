"""Live recognition: partial texts while a person speaks, and a final text when they stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from numpy.typing import NDArray

from device_app.audio.samples import Converter, as_array
from device_app.audio.vad import FRAME_S, Segment, Segmenter
from device_app.recognition.families import Recogniser
from device_app.recognition.results import Recognition, TranscriptSegment, Update
from editing.errors import BadInputError

MAX_PARTIAL_SHARE = 0.5  # of the time that drafts may take; slow machines show partial texts less often


class Stream:
    """Recognises live audio and returns updates.

    The final text is usually available before the silence that ends the segment is complete. Once the
    silence fills the padding of the segment, its audio changes only if speech continues, so the segment is
    recognised then, and the result becomes the final text if no speech follows. With partial texts, this result is
    returned as one of them too; the others are drafts (see `Recogniser.recognise`).

    Call it from one thread; recognition runs in this thread, inside `feed` and `finish`.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        segmenter: Segmenter,
        convert: Converter,
        partial_s: float,
        replace_words: Callable[[TranscriptSegment], TranscriptSegment | None] = lambda segment: segment,
    ) -> None:
        """
        Args:
            recogniser: the loaded model.
            segmenter: finds speech in the 16 kHz audio.
            convert: converts blocks to 16 kHz mono.
            partial_s: seconds of audio between two partial texts; 0 for none.
            replace_words: changes the words of each segment (a `Replacer`), or returns None to leave it out.
        """
        self._recogniser = recogniser
        self._segmenter = segmenter
        self._convert = convert
        self._partial_s = partial_s
        self._replace_words = replace_words
        self._latest: tuple[Segment, Recognition] | None = None  # what was recognised last, of any segment
        self._is_finished = False
        self._is_draft = False  # whether the latest recognition is a draft
        self._draft_cost_s = 0.0  # wall time of the latest draft

    def feed(self, block: NDArray[Any]) -> list[Update]:
        """Processes the next block, (samples,) or (samples, channels); returns the new updates.

        Raises:
            BadAudioError: the samples are not audio.
            BadInputError: the stream is finished.
        """
        if self._is_finished:
            raise BadInputError("the stream is finished; Transcriber.stream() starts another")
        updates = self._finals(self._segmenter.feed(self._convert(as_array(block))))
        current = self._segmenter.current()
        if current is not None and self._is_due(current):
            segment = self._segment(current, self._recognise(current, is_draft=not self._is_padded()))
            if segment is not None and self._partial_s:
                updates.append(Update(segment, is_final=False))
        return updates

    def finish(self) -> list[Update]:
        """Ends the stream; returns the final text of the open segment, and nothing if it is called again."""
        if self._is_finished:
            return []
        self._is_finished = True
        updates = self._finals(self._segmenter.feed(self._convert.finish()))
        return updates + self._finals(self._segmenter.finish())

    def _is_due(self, current: Segment) -> bool:
        """Whether to recognise the open segment now."""
        if self._is_padded():
            return not self._is_recognised(current)
        if not self._partial_s:
            return False
        since = self._latest[0].end_s if self._latest else current.start_s
        return current.end_s - since >= max(self._partial_s, self._draft_cost_s / MAX_PARTIAL_SHARE)

    def _is_padded(self) -> bool:
        """Whether the open segment has its whole padding, so that its audio changes only if speech continues."""
        # The padding has at least one frame. Without this limit, speech itself counted as padded at a padding of 0.
        return self._segmenter.silence_s >= max(FRAME_S, self._segmenter.settings.padding_s)

    def _is_recognised(self, segment: Segment) -> bool:
        """Whether the latest recognition is the final one of this segment."""
        if self._latest is None or self._is_draft:
            return False
        latest = self._latest[0]
        return latest.start_s == segment.start_s and len(latest.audio) == len(segment.audio)

    def _finals(self, segments: Iterable[Segment]) -> list[Update]:
        """The final texts of complete segments, without those that have no words."""
        results = [self._segment(segment, self._recognise(segment)) for segment in segments]
        return [Update(result, is_final=True) for result in results if result is not None]

    def _segment(self, segment: Segment, recognition: Recognition) -> TranscriptSegment | None:
        result = TranscriptSegment.of(segment, recognition)
        return None if result is None else self._replace_words(result)

    def _recognise(self, segment: Segment, *, is_draft: bool = False) -> Recognition:
        """Recognises a segment, unless the latest recognition is the final one of it."""
        if self._latest is None or not self._is_recognised(segment):
            start = time.perf_counter()
            self._latest = segment, self._recogniser.recognise(segment.audio, is_draft=is_draft)
            self._is_draft = is_draft
            if is_draft:
                self._draft_cost_s = time.perf_counter() - start
        return self._latest[1]
