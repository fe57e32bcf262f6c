"""Where each block of a recording belongs by its timestamp, and what of the recording is damaged or missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from device_app.audio.containers.foreign.part import CUT

Block = tuple[NDArray[np.float32], int]  # (samples, channels), and the sampling rate in Hz

MIN_GAP_S = 0.1  # smaller differences come from rounding, or from the clock of a live recording
MAX_GAP_S = 600.0  # a longer one is a damaged timestamp, or another recording begins
MAX_SILENCE_S = 24 * 3600.0  # in all, as a small file may claim any number of gaps
TOLERANCE_S = 0.5  # a container's duration may include the end of the video or of an edit
MAX_SAMPLE = 32.0  # 30 dB above full scale; decoders make larger samples of damaged frames
SAME_PLACE_S = 0.5  # faults that are no further apart count as one place
SHOWN_PLACES = 3  # in a message; of more, the first and the last are shown
SHOWN_CAUSES = 2
SHOWN_DIFFERENCE_S = 0.05  # smaller differences disappear when seconds are rounded to one decimal


class Timeline:
    """Counts what is read of a recording, fills gaps with silence, and collects faults.

    Attributes:
        position_s: seconds of the blocks so far, with silence.
        found_s: seconds of the blocks so far, without silence.
    """

    def __init__(self) -> None:
        self.position_s = 0.0
        self.found_s = 0.0
        self._declared_s = 0.0  # where the recording ends by its header; 0 if it has all of that, or does not say
        self._begin_s = 0.0  # position of the part that is read
        self._offset_s: float | None = None  # position minus timestamp
        self._jumped_s = 0.0  # gaps of the timestamps that silence does not fill
        self._causes: list[str] = []  # of `note`
        self._message: str | None = None  # the first of `note_error`
        self._places: list[float] = []  # in seconds; of many, the first `SHOWN_PLACES` and the last
        self._places_count = 0
        self._is_damaged = False  # the samples before the next ones could not be decoded
        self._may_pause = True  # a gap may be a pause, as the structure of the part is not damaged

    def begin(self, fault: str | None = None, fault_s: float | None = None) -> None:
        """Begins the next of joined recordings.

        Args:
            fault: what its structure shows as damaged; None if nothing.
            fault_s: where, in seconds from its start; None if not known.
        """
        self._begin_s = self.position_s
        self._offset_s = None
        self._jumped_s = 0.0
        self._may_pause = fault in (None, CUT)
        if fault is not None:
            self.note(fault, None if fault_s is None else self._begin_s + fault_s)

    def note(self, cause: str, at_s: float | None = None) -> None:
        """Notes a fault.

        Args:
            cause: a part of a sentence.
            at_s: where it is, in seconds from the start of the recording; None if not known.
        """
        if cause not in self._causes:
            self._causes.append(cause)
        self._note_place(at_s)

    def _note_place(self, at_s: float | None) -> None:
        if at_s is None or (self._places and at_s < self._places[-1] + SAME_PLACE_S):
            return
        self._places_count += 1
        if len(self._places) > SHOWN_PLACES:
            self._places.pop()
        self._places.append(at_s)

    def note_error(self, message: str, start_s: float | None = None) -> None:
        """Notes that the samples that follow could not be decoded.

        Args:
            message: of the decoder.
            start_s: timestamp of these samples; None if they have none.
        """
        if self._offset_s is None and start_s is not None:
            self._offset_s = self.position_s - start_s
        self._is_damaged = True
        self._message = self._message or message
        self._note_place(self.position_s)

    def gap_s(self, start_s: float | None) -> float:
        """Seconds of silence before samples with this timestamp (None if they have none), so that times are right."""
        if start_s is None:
            return 0.0
        if self._offset_s is None:
            self._offset_s = self.position_s - start_s
        gap = start_s + self._offset_s - self.position_s
        if abs(gap) < MIN_GAP_S:
            return 0.0
        if 0 < gap <= MAX_GAP_S and self.position_s - self.found_s + gap <= MAX_SILENCE_S:
            return gap
        self._offset_s -= gap
        self._jumped_s += max(gap, 0.0)
        return 0.0

    def blocks(
        self, samples: NDArray[np.float32], rate: int, gap_s: float = 0.0, *, is_pause: bool = True
    ) -> Iterator[Block]:
        """Yields silence for a gap, and samples.

        Args:
            samples: (samples, channels), decoded.
            rate: in Hz.
            gap_s: seconds of silence before them.
            is_pause: a gap that no error explains is a pause of the recording; else samples are missing there.
        """
        if gap_s and not (is_pause and self._may_pause) and not self._is_damaged:
            self.note("samples are missing", self.position_s)
        if not (np.abs(samples) <= MAX_SAMPLE).all():
            self.note("some samples are far above full scale", self.position_s)
            samples = np.zeros_like(samples)
        self._is_damaged = False
        self.position_s += gap_s
        count = round(gap_s * rate)
        while count:
            silence = np.zeros((min(count, rate), samples.shape[1]), np.float32)
            count -= len(silence)
            yield silence, rate
        self.found_s += len(samples) / rate
        self.position_s += len(samples) / rate
        yield samples, rate

    def finish(self, declared_s: float) -> None:
        """Ends a part.

        Args:
            declared_s: its length in seconds by its header; 0 if it does not say.
        """
        read_s = self.position_s - self._begin_s + self._jumped_s
        if self._offset_s is not None:  # the first timestamp may be above 0, and the header count from 0
            read_s = max(read_s, self.position_s - self._offset_s)
        if declared_s and read_s < declared_s - TOLERANCE_S:
            self.note(CUT)
            self._declared_s = max(self._declared_s, self._begin_s + declared_s)
        self._is_damaged = False

    @property
    def fault(self) -> str | None:
        """What is damaged or missing, as a message without the name of the file; None if nothing."""
        if not self._causes and self._message is None:
            return None
        total_s = max(self._declared_s, self.position_s)
        reasons = "; ".join(self._causes[:SHOWN_CAUSES]) or self._message
        amount = (
            f"{self.found_s:.1f} s of {total_s:.1f} s"
            if total_s > self.found_s + SHOWN_DIFFERENCE_S
            else f"{self.found_s:.1f} s"
        )
        return f"damaged or cut off{self._where()}: {amount} could be read ({reasons})"

    def _where(self) -> str:
        if not self._places:
            return ""
        shown = [f"{place:.1f} s" for place in self._places]
        if self._places_count > SHOWN_PLACES:
            return f" in {self._places_count} places, the first at {shown[0]}, the last at {shown[-1]}"
        return f" at {' and '.join(filter(None, [', '.join(shown[:-1]), shown[-1]]))}"
