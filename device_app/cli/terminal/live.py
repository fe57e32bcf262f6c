"""The status line during recording and live transcription: level meter and partial text."""

from __future__ import annotations

import shutil
import sys

from device_app.cli.printing import is_dumb
from editing.printable import printable

MIN_DBFS = -60.0
METER_WIDTH = 10
METER_PARTS = " ▏▎▍▌▋▊▉█"


def meter(level_dbfs: float) -> str:
    """Draws a level as a bar of 10 characters: empty at -60 dBFS and below, full at 0.

    >>> meter(-30.0)
    '█████     '
    """
    share = min(1.0, max(0.0, 1 - level_dbfs / MIN_DBFS))
    eighths = round(share * METER_WIDTH * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (METER_PARTS[part] if part else "")).ljust(METER_WIDTH)


class LiveLine:
    """The last line of a terminal, rewritten in place; shows nothing if the output is not a terminal that can do this.

    Attributes:
        text: the text after the meter, such as the partial hypothesis of the current utterance.
    """

    def __init__(self) -> None:
        self.is_visible = sys.stderr.isatty() and sys.stdout.isatty() and not is_dumb()
        self.text = ""

    def fits(self) -> bool:
        """Whether the whole text is visible."""
        return self.is_visible and len(printable(self.text)) <= self._width()

    def show(self, level_dbfs: float) -> None:
        """Draws the meter, and as much of the end of the text as fits."""
        if not self.is_visible:
            return
        width = self._width()
        text = printable(self.text)
        text = text if len(text) <= width else "…" + text[-width + 1 :]
        sys.stderr.write(f"\r\x1b[K[{meter(level_dbfs)}] {text}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Clears the line, so that other text can be printed."""
        self.text = ""
        if self.is_visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _width(self) -> int:
        """Columns beside the meter, its two brackets, the space after it and the last column, where a line may wrap."""
        return shutil.get_terminal_size().columns - METER_WIDTH - 4
