"""Interactive labelling of utterances."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal import review
from device_app.cli.terminal.corrections import add_corrected_terms
from device_app.cli.terminal.keyboard import ENTER, Keyboard
from editing.errors import BadAudioError

if TYPE_CHECKING:
    from device_app.audio.samples import Samples
    from device_app.data.store import Store
    from device_app.data.utterance import StoredUtterance
    from device_app.recognition.results import Transcript
    from device_app.recognition.transcriber import Transcriber


class Key(StrEnum):
    """What the user can do with an utterance, and the key for it."""

    ACCEPT = ENTER
    EDIT = "e"
    PLAY = "p"
    SKIP = "s"
    BACK = "b"
    DELETE = "d"
    QUIT = "q"


LETTERS = "".join(key for key in Key if key is not Key.ACCEPT)
KEYS = " · ".join(f"{key.capitalize() if key is Key.ACCEPT else key} {key.name.lower()}" for key in Key)


def label_utterances(
    store: Store, numbers: Sequence[int], keyboard: Keyboard, transcriber: Transcriber, *, adds_terms: bool = True
) -> int:
    """Shows utterances one after the other, until the last or until the user quits, also with Ctrl-C.

    An utterance whose audio is missing or damaged is reported and left out.

    Args:
        store: the store with the utterances.
        numbers: the numbers of the utterances.
        keyboard: where the user answers.
        transcriber: makes the hypotheses.
        adds_terms: whether corrected words become terms, if the user agrees.

    Returns:
        How many of them have a text that the user confirmed.

    Raises:
        BadInputError: an utterance was deleted by another process.
        StorageError: the store cannot be written.
    """
    confirmed: set[int] = set()
    shown, index = list(numbers), 0  # without those that were deleted or cannot be read
    try:
        while index < len(shown):
            options.tell("")
            options.tell(f"[{index + 1}/{len(shown)}]")
            try:
                key = label_utterance(store, store.get(shown[index]), keyboard, transcriber, adds_terms=adds_terms)
            except BadAudioError as error:
                options.tell(f"  {error}; left out. 'asr-edge doctor' looks for recordings that are missing or damaged")
                del shown[index]
                continue
            if key is Key.QUIT:
                break
            if key is Key.ACCEPT:
                confirmed.add(shown[index])
            if key is Key.DELETE:
                confirmed.discard(shown.pop(index))
            else:
                index = max(0, index - 1) if key is Key.BACK else index + 1
    except KeyboardInterrupt:
        options.tell("")
    return len(confirmed)


def edit_utterance(
    store: Store, utterance: StoredUtterance, keyboard: Keyboard, transcriber: Transcriber
) -> str | None:
    """Shows what is recognised in an utterance, and lets the user edit its text; returns None if they cancel.

    Raises:
        BadAudioError: its audio is missing or damaged.
        StorageError: the store cannot be written.
        KeyboardInterrupt: Ctrl-C was pressed during the recognition, or the terminal was closed.
    """
    transcript = show_recognised(utterance, transcriber)[1]
    utterance = store.set_hypothesis(utterance.number, transcript.text, transcript.confidence)
    options.tell("  Change the text to what was said; Enter keeps it, Ctrl-C cancels.")
    return review.edited(_text_of(utterance), keyboard)


def label_utterance(
    store: Store, utterance: StoredUtterance, keyboard: Keyboard, transcriber: Transcriber, *, adds_terms: bool = True
) -> Key:
    """Shows an utterance and handles keys, until one ends its labelling.

    Args:
        store: the store with the utterance.
        utterance: the utterance.
        keyboard: where the user answers.
        transcriber: makes the hypothesis.
        adds_terms: whether corrected words become terms, if the user agrees.

    Returns:
        `Key.ACCEPT`, `SKIP`, `BACK`, `DELETE` or `QUIT`: the key that ended it.

    Raises:
        BadAudioError: its audio is missing or damaged.
        StorageError: the store cannot be written.
        KeyboardInterrupt: Ctrl-C or Ctrl-D was pressed, or the terminal was closed.
    """
    audio, transcript = show_recognised(utterance, transcriber)
    utterance = store.set_hypothesis(utterance.number, transcript.text, transcript.confidence)
    text = _text_of(utterance)
    options.tell(f"  {text}", bold=True)
    while True:
        options.tell(f"  {KEYS}")
        key = Key(keyboard.choose(LETTERS))
        if key is Key.PLAY:
            review.play(audio, keyboard)
        elif key is Key.EDIT or (key is Key.ACCEPT and not text):
            text = review.edited(text, keyboard) or text
            options.tell(f"  {text}", bold=True)
        elif key is Key.DELETE:
            options.tell("  delete its audio and text? y deletes, any other key cancels")
            if keyboard.poll(None) == "y":
                store.delete([utterance.number])
                return key
        else:
            if key is Key.ACCEPT:
                store.set_text(utterance.number, text)
                if adds_terms:
                    add_corrected_terms(utterance.hypothesis, text, keyboard)
            return key


def show_recognised(utterance: StoredUtterance, transcriber: Transcriber) -> tuple[Samples, Transcript]:
    """Transcribes an utterance, and prints its name and the words, the unsure ones marked.

    Returns:
        Its audio, (samples,) at 16 kHz, and the transcript.

    Raises:
        BadAudioError: its audio is missing or damaged.
    """
    from device_app.audio.samples import SAMPLE_RATE, read

    options.tell(f"  {utterance.domain} {utterance.number}, {utterance.duration_s:.1f} s")
    audio = read(utterance.audio)
    transcript = transcriber.transcribe(audio, SAMPLE_RATE)
    review.show_words(transcript.words)
    return audio, transcript


def _text_of(utterance: StoredUtterance) -> str:
    """The text to start from: the label, or else the hypothesis."""
    return utterance.text or utterance.hypothesis or ""
