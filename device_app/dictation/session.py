"""A dictation: listens when it is asked to, types final texts, takes the last one back, and learns from edits."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from device_app.audio.samples import Samples
from device_app.audio.vad import SegmentSettings
from device_app.data.names import checked_text
from device_app.data.store import Store
from device_app.data.terms import normalise_term
from device_app.dictation.control import Command
from device_app.dictation.window import Window, one_line_of
from device_app.recognition.results import TranscriptSegment, Update
from device_app.recognition.transcriber import Transcriber
from device_app.recording.quality import similarity
from device_app.recording.saver import UtteranceSaver
from editing.errors import AsrEdgeError, BadInputError

Result = TypeVar("Result")

# If one of these is all that was said, it takes back the text before it.
UNDO = frozenset({"undo that", "undo this", "scratch that"})
REMEMBERED = 20  # typed texts that can be taken back or corrected
MIN_SIMILARITY = 0.5  # of a correction to what was typed (`similarity`); below it, another text was selected


class AudioSource(Protocol):
    """A microphone that is open; see `device_app.audio.microphone.Microphone`."""

    sample_rate: float

    def __iter__(self) -> Iterator[Samples]:
        """Blocks of audio, (samples,)."""
        ...


@dataclass(frozen=True)
class Typed:
    """A text as it was typed, with the space before it, and the number of its utterance; 0 if it was not saved."""

    text: str
    utterance: int


class Dictation:
    """Carries out commands, and types what is said between START and STOP."""

    def __init__(
        self,
        transcriber: Transcriber,
        window: Window,
        open_microphone: Callable[[], AbstractContextManager[AudioSource]],
        commands: queue.SimpleQueue[Command],
        tell: Callable[[str], None],
        *,
        silence_s: float = 0.5,
        store: Store | None = None,
        saver: UtteranceSaver | None = None,
    ) -> None:
        """
        Args:
            transcriber: recognises what is said.
            window: receives the texts.
            open_microphone: opens the microphone; called at each START.
            commands: what the user asks for.
            tell: shows a message.
            silence_s: seconds of silence that end a sentence.
            store, saver: keep audio and text, so that edits become corrections; None keeps nothing.
        """
        self._transcriber, self._window = transcriber, window
        self._open_microphone, self._commands, self._tell = open_microphone, commands, tell
        self._settings = SegmentSettings(silence_s=silence_s)
        self._store, self._saver = store, saver
        self._typed: deque[Typed] = deque(maxlen=REMEMBERED)

    def run(self) -> None:
        """Waits for commands until QUIT."""
        while (command := self._commands.get()) is not Command.QUIT:
            if command in (Command.START, Command.TOGGLE):
                if self._attempt(self._listen) is Command.QUIT:
                    return
            else:
                self._carry_out(command)

    def _listen(self) -> Command | None:
        """Types what is said until STOP, TOGGLE or QUIT; returns that command."""
        with self._open_microphone() as microphone:
            self._tell("Listening.")
            stream = self._transcriber.stream(microphone.sample_rate, settings=self._settings, partial_s=0)
            ended: Command | None = None
            for block in microphone:
                self._type_all(stream.feed(block))
                ended = self._next_end()
                if ended is not None:
                    break
            self._type_all(stream.finish())
        self._tell("Stopped.")
        return ended

    def _next_end(self) -> Command | None:
        """Carries out the commands that are waiting; returns the first that ends listening, None if there is none."""
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return None
            if command in (Command.STOP, Command.TOGGLE, Command.QUIT):
                return command
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        if command is Command.UNDO:
            self._attempt(self._undo)
        elif command is Command.CORRECT:
            self._attempt(self._correct)

    def _attempt(self, action: Callable[[], Result]) -> Result | None:
        """Does an action. An error, such as an unplugged microphone, is shown and does not end the dictation."""
        try:
            return action()
        except AsrEdgeError as error:
            self._tell(str(error))
            return None

    def _type_all(self, updates: Iterable[Update]) -> None:
        for update in updates:
            if update.is_final:
                self._type(update.segment)

    def _type(self, segment: TranscriptSegment) -> None:
        if " ".join(normalise_term(segment.text).split()).strip(" .,!?") in UNDO:
            self._undo()
            return
        text = f"{' ' if self._typed else ''}{one_line_of(segment.text)}"
        self._window.type(text)
        self._typed.append(Typed(text, 0))  # before it is saved, which may fail: it can be taken back
        if self._saver is not None:
            self._saver.save(segment)
            self._typed[-1] = Typed(text, self._saver.latest)

    def _undo(self) -> None:
        if not self._typed:
            self._tell("Nothing was typed that could be undone.")
            return
        self._window.erase(len(self._typed[-1].text))
        self._typed.pop()

    def _correct(self) -> None:
        """Stores the selected text as the label of the most similar of the typed texts.

        Raises:
            BadInputError: nothing was saved, or the selection is like none of the sentences.
        """
        if self._store is None:
            raise BadInputError("corrections need saved sentences: start with 'asr-edge type --learn'")
        text = checked_text(self._window.selection())
        saved = [one for one in self._typed if one.utterance]
        closest = max(saved, key=lambda one: similarity(one.text, text), default=None)
        if closest is None or similarity(closest.text, text) < MIN_SIMILARITY:
            raise BadInputError("the selected text is like no sentence that was just dictated; nothing was changed")
        self._store.set_text(closest.utterance, text)
        self._tell(f"Saved as a correction of {closest.utterance}.")
