"""The interactive screen of a recording session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from device_app.cli import options
from device_app.cli.terminal import review
from device_app.cli.terminal.keyboard import ENTER, SPACE, Keyboard
from device_app.cli.terminal.live import LiveLine
from editing.errors import BadAudioError, BadInputError

if TYPE_CHECKING:
    from device_app.audio.microphone import Microphone
    from device_app.audio.samples import Samples
    from device_app.data.utterance import StoredUtterance
    from device_app.recognition.results import Word
    from device_app.recognition.transcriber import Transcriber
    from device_app.recording.session import Item, RecordingSession, Take

KEYS = "s skip · b back · q quit"
# Doubts about a take, which Enter does not keep then; docs/record.md explains them.
INCOMPLETE, NOTHING = "Some audio was lost.", "Nothing was recognised."


class _Recorded(NamedTuple):
    """What the microphone gave.

    Attributes:
        audio: (samples,) at `sample_rate`, in Hz.
        key: the key of another action (s, b, q) that abandoned the take; None if speech, Space or Enter ended it.
        is_incomplete: whether some audio was lost.
    """

    audio: Samples
    sample_rate: float
    key: str | None = None
    is_incomplete: bool = False


class RecordingScreen:
    """Shows one item after the other, records takes, and handles keys.

    An item is a sentence to read, or free speech; a take is one recording of it. Methods that ask return the key of an
    action: a record (again), s skip, b back, q quit; or "" for the next item.
    """

    def __init__(
        self,
        session: RecordingSession,
        keyboard: Keyboard,
        transcriber: Transcriber,
        microphone: Callable[[], Microphone],
        silence_s: float,
        progress: Callable[[int], str],
    ) -> None:
        """
        Args:
            session: selects the items and saves the takes.
            keyboard: what the user presses.
            transcriber: of the model in use.
            microphone: opens a new one for each take.
            silence_s: seconds of silence after speech that end a take.
            progress: how far the domain is from its next adaptation, with this number of labelled recordings.
        """
        from device_app.audio.vad import VoiceActivity

        self._session = session
        self._keyboard = keyboard
        self._transcriber = transcriber
        self._microphone = microphone
        self._silence_s = silence_s
        self._progress = progress
        self._voice = VoiceActivity()

    def run(self) -> None:
        """Runs until all prompts are done or the user quits."""
        while (item := self._session.current) is not None:
            self._show(item)
            key = "a" if item.stored is None else self._review_stored(item.stored)  # "a": record a take
            while key == "a":
                item = self._session.current or item  # its text may have been edited
                key = self._take(item)
                if key == "a":
                    self._show_text(item)  # it may have scrolled away
            if key == "q":
                return
            if key == "s":
                self._session.skip()
            elif key == "b" and not self._session.back():
                options.tell("  there is no earlier recording")
        options.tell("All prompts are done.")

    def _show(self, item: Item) -> None:
        session = self._session
        number = session.saved.index(item.stored.number) + 1 if item.stored is not None else session.done + 1
        of = "" if session.total is None else f"/{session.total}"
        minutes, seconds = divmod(round(session.seconds), 60)
        options.tell("")
        options.tell(f"[{number}{of}, {minutes}:{seconds:02} recorded; {self._progress(session.labelled)}]")
        self._show_text(item)

    def _show_text(self, item: Item) -> None:
        text = item.text or "(say anything)"
        options.tell(f"  {text}" if item.stored is None else f"  {text} (recorded before)", bold=True)

    def _take(self, item: Item) -> str:
        """Records a take and asks what to do with it; returns the pressed key."""
        recorded = self._record("speak" if item.text is None else "read it aloud")
        if recorded.key is not None:
            return recorded.key
        try:
            take, words = self._measure(recorded.audio, recorded.sample_rate)
        except BadAudioError as error:  # too short, because the key was pressed again at once
            options.tell(f"  {error}; record it again")
            return "a"
        review.show_words(words)
        self._print_problems(take, item.text)
        text = take.hypothesis or None if item.text is None else item.text
        return self._review_take(take, text, recorded.is_incomplete)

    def _record(self, request: str) -> _Recorded:
        """Records a take, until silence after speech or a key ends it.

        Args:
            request: what the user is to do, shown until they begin.
        """
        from device_app.audio.samples import level_dbfs
        from device_app.recording.take_recorder import TakeRecorder

        line = LiveLine()
        line.text = f"{request} · Space starts · {KEYS}"
        if not line.fits():
            options.tell(f"  {request} · Space starts · {KEYS}")
            line.text = request
        with self._microphone() as microphone:
            recorder = TakeRecorder(microphone.sample_rate, self._voice, self._silence_s)
            try:
                for block in microphone:
                    recorder.feed(block)
                    key = self._keyboard.poll()
                    if key in (SPACE, ENTER):
                        recorder.press()
                    elif key in ("s", "b", "q"):
                        return _Recorded(recorder.audio, microphone.sample_rate, key)
                    if recorder.has_ended:
                        break
                    if recorder.has_begun:
                        line.text = f"● {recorder.seconds:.1f} s · Space stops"
                    line.show(level_dbfs(block))
            finally:
                line.clear()
            if microphone.lost:
                options.tell(
                    "  Some audio was lost: this computer cannot keep up. Close other programs, and record again."
                )
            return _Recorded(recorder.audio, recorder.sample_rate, is_incomplete=bool(microphone.lost))

    def _measure(self, raw: Samples, sample_rate: float) -> tuple[Take, Sequence[Word]]:
        """The take, and the words that were recognised in it.

        Args:
            raw: what the microphone gave, (samples,).
            sample_rate: of `raw`, in Hz.

        Raises:
            BadAudioError: it is too short.
        """
        from device_app.audio.samples import SAMPLE_RATE
        from device_app.data.recordings import as_stored
        from device_app.recording.quality import measure
        from device_app.recording.session import Take

        audio, quality = measure(raw, sample_rate, self._voice)
        # The same samples as `correct` and `label` will transcribe: others may give another text.
        transcript = self._transcriber.transcribe(as_stored(audio), SAMPLE_RATE)
        return Take(audio, quality, transcript.text, transcript.confidence), transcript.words

    def _print_problems(self, take: Take, text: str | None) -> None:
        from device_app.recording.quality import problems

        for problem in problems(take.quality, text, take.hypothesis):
            options.tell(f"  ! {problem}", bold=True, hanging=4)

    def _review_take(self, take: Take, text: str | None, is_incomplete: bool) -> str:
        """Asks what to do with a take; returns the key of another action, or "" if the take was saved.

        A take in which nothing was recognised is probably noise, or was recorded with a muted microphone, and one of
        which audio was lost does not have its whole text, so Enter does not keep them.
        """
        doubt = INCOMPLETE if is_incomplete else "" if take.hypothesis else NOTHING
        is_doubtful = bool(doubt)
        while True:
            if is_doubtful:
                options.tell(f"  {doubt} Enter records it again.")
                options.tell("  Enter again · k keep · p play · s skip · b back · e edit text · q quit")
            else:
                options.tell("  Enter keep · a again · p play · s skip · b back · e edit text · q quit")
            key = self._keyboard.choose("apsbeqk" if is_doubtful else "apsbeq")
            if key == ENTER and is_doubtful:
                return "a"
            if key in (ENTER, "k"):
                try:
                    saved = self._session.save(take, text)
                except BadInputError as error:
                    options.tell(f"  {error}")
                    continue
                options.tell(f"  kept as recording {saved.number} ({saved.duration_s:.1f} s)")
                return ""
            if key == "p":
                review.play(take.audio, self._keyboard)
            elif key == "e":
                text = review.edited(text or "", self._keyboard) or text
                options.tell(f"  {text or ''}")
            else:
                return key

    def _review_stored(self, stored: StoredUtterance) -> str:
        """Asks what to do with an earlier recording; returns the key of another action, or "" for the next item."""
        from device_app.audio.samples import read

        text = stored.text or ""
        while True:
            options.tell("  Enter next · a again · p play · b back · e edit text · d delete · q quit")
            key = self._keyboard.choose("apbedq")
            if key == ENTER:
                self._session.forward()
                return ""
            if key == "p":
                try:
                    review.play(read(stored.audio), self._keyboard)
                except BadAudioError as error:
                    options.tell(f"  {error}; 'asr-edge doctor' looks for recordings that are missing or damaged")
            elif key == "e":
                changed = review.edited(text, self._keyboard)
                if changed is not None:
                    text = changed
                    self._session.edit(text)
                    options.tell(f"  {text}")
            elif key == "d":
                options.tell("  delete its audio and text? y deletes, any other key cancels")
                if self._keyboard.poll(None) == "y":
                    self._session.delete()
                    options.tell("  deleted")
                    return ""
            else:
                return key
