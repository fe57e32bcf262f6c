"""Live transcription from the microphone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.printing import echo
from device_app.cli.terminal.live import LiveLine
from device_app.recognition.writers import Format
from editing.errors import StorageError
from editing.printable import printable

if TYPE_CHECKING:
    from device_app.audio.microphone import Microphone
    from device_app.recognition.results import TranscriptSegment, Update
    from device_app.recognition.transcriber import Transcriber
    from device_app.recording.saver import UtteranceSaver

SILENT_DBFS = -85.0  # the noise of any working microphone is louder; a muted one gives zeros
REPORTED_AFTER_S = 5.0  # of silence from the start

Write = Callable[[str], None]


def listen(
    form: Format,
    device: str | None,
    silence_s: float,
    load: Callable[[], Transcriber],
    on_segment: Callable[[TranscriptSegment], None],
    saver: UtteranceSaver | None,
    output: str | None,
) -> None:
    """Transcribes the microphone until Ctrl-C.

    Args:
        form: text or JSON lines.
        device: the microphone, its number or part of its name; None is the system's default.
        silence_s: seconds of silence that end an utterance.
        load: loads the transcriber.
        on_segment: called with each segment that is final.
        saver: knows the number under which `on_segment` has stored a segment; None if nothing is stored.
        output: a file that gets each line as it is printed; None for none.

    Raises:
        MicrophoneError: there is no such microphone, or it was disconnected.
        StorageError: the file cannot be written.
    """
    from device_app.audio.microphone import Microphone
    from device_app.audio.samples import level_dbfs
    from device_app.audio.vad import SegmentSettings

    transcriber = load()
    with Microphone(device) as microphone, _writer(output) as write:  # no microphone: the file stays as it is
        screen = _Screen(form, on_segment, saver, write, microphone)
        stream = transcriber.stream(
            microphone.sample_rate,
            settings=SegmentSettings(silence_s=silence_s),
            partial_s=0.5 if screen.line.is_visible else 0,
        )
        options.tell(f"Listening to {microphone.name}; Ctrl-C stops.")
        try:
            for block in microphone:
                screen.show(stream.feed(block))
                screen.show_level(level_dbfs(block), len(block) / microphone.sample_rate)
        except KeyboardInterrupt:
            pass
        finally:
            screen.line.clear()
            screen.show_last(stream.finish())


class _Screen:
    """Shows updates of a stream and the level of the microphone."""

    def __init__(
        self,
        form: Format,
        on_segment: Callable[[TranscriptSegment], None],
        saver: UtteranceSaver | None,
        write: Write,
        microphone: Microphone,
    ) -> None:
        self.line = LiveLine()
        self._form = form
        self._on_segment = on_segment
        self._saver = saver
        self._write = write
        self._microphone = microphone
        self._reported_losses = 0
        self._silent_s = 0.0
        self._had_sound = False
        self._is_silence_reported = False

    def show(self, updates: Sequence[Update]) -> None:
        """Prints final texts, and puts the latest partial text into the live line."""
        from device_app.recognition.writers import json_line

        for update in updates:
            segment = update.segment
            if not update.is_final:
                self.line.text = segment.text
                continue
            self.line.clear()
            self._write(segment.text if self._form == Format.TXT else json_line(segment, "microphone"))
            self._on_segment(segment)
            if self._saver is not None:
                options.tell(f"  saved as {self._saver.latest}")

    def show_last(self, updates: Sequence[Update]) -> None:
        """Shows the sentence that Ctrl-C interrupted, on standard error if Ctrl-C has ended the reader of the pipe."""
        try:
            self.show(updates)
        except BrokenPipeError:
            for update in updates:
                options.tell(update.segment.text)
            raise

    def show_level(self, level_dbfs: float, block_s: float) -> None:
        """Draws the level of a block of `block_s` seconds; reports a microphone without sound, and losses of audio."""
        self.line.show(level_dbfs)
        # Once there was sound, the microphone works: some systems give zeros in the pauses between sentences.
        self._had_sound = self._had_sound or level_dbfs >= SILENT_DBFS
        self._silent_s += block_s
        if self._silent_s >= REPORTED_AFTER_S and not (self._had_sound or self._is_silence_reported):
            self._is_silence_reported = True
            self.line.clear()
            options.tell(
                f"No sound at all has come from {self._microphone.name} for {REPORTED_AFTER_S:g} s. Is it muted? "
                "'asr-edge transcribe --list-devices' shows all microphones, --device chooses one."
            )
        if self._microphone.lost > self._reported_losses:
            self._reported_losses = self._microphone.lost
            self.line.clear()
            options.tell("Some audio was lost: this computer cannot keep up. Close other programs.")


@contextmanager
def _writer(output: str | None) -> Iterator[Write]:
    """Yields a function that prints a line, and appends it to a file at once if there is one."""

    def show(line: str) -> None:
        echo(line, wraps=False)
        sys.stdout.flush()

    if output is None:
        yield show
        return
    try:
        file = Path(output).open("w", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise StorageError(f"{output}: cannot be written ({error.strerror})") from error

    def show_and_append(line: str) -> None:
        show(line)
        try:
            file.write(f"{printable(line)}\n")
            file.flush()
        except OSError as error:
            raise StorageError(f"{output}: cannot be written ({error.strerror}); it ends here") from error

    with file:
        yield show_and_append
