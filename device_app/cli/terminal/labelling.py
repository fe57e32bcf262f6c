"""Interactive labelling of one utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from device_app.cli import options
from device_app.cli.terminal import review
from device_app.cli.terminal.corrections import add_corrected_terms
from device_app.cli.terminal.keyboard import ENTER, Keyboard

if TYPE_CHECKING:
    from device_app.audio.samples import Samples
    from device_app.data.store import Store
    from device_app.data.utterance import StoredUtterance
    from device_app.recognition.results import Transcript
    from device_app.recognition.transcriber import Transcriber

KEYS = "Enter accept · e edit · p play · s skip · b back · d delete · q quit"


def edit_utterance(
    store: Store, utterance: StoredUtterance, keyboard: Keyboard, transcriber: Transcriber
) -> str | None:
    """Shows what is recognised in an utterance, and lets the user edit its text; returns None if they cancel."""
    options.tell(f"  {utterance.domain} {utterance.number}, {utterance.duration_s:.1f} s")
    transcript = _recognise(store, utterance, transcriber)[1]
    options.tell("  Change the text to what was said; Enter keeps it, Ctrl-C cancels.")
    return review.edited(utterance.text or utterance.hypothesis or transcript.text, keyboard)


def label_utterance(
    store: Store, utterance: StoredUtterance, keyboard: Keyboard, transcriber: Transcriber, *, adds_terms: bool = True
) -> str:
    """Shows an utterance and handles keys; returns the key that ended the labelling.

    Args:
        store: the store with the utterance.
        utterance: the utterance.
        keyboard: where the person answers.
        transcriber: makes the hypothesis.
        adds_terms: whether corrected words become terms, if the person agrees.
    """
    options.tell(f"  {utterance.domain} {utterance.number}, {utterance.duration_s:.1f} s")
    audio, transcript = _recognise(store, utterance, transcriber)
    text = utterance.text or transcript.text
    options.tell(f"  {text}", bold=True)
    while True:
        options.tell(f"  {KEYS}")
        key = keyboard.choose("epsbdq")
        if key == "p":
            review.play(audio, keyboard)
        elif key == "e" or (key == ENTER and not text):
            text = review.edited(text, keyboard) or text
            options.tell(f"  {text}", bold=True)
        elif key == "d":
            options.tell("  delete its audio and text? y deletes, any other key cancels")
            if keyboard.poll(None) == "y":
                store.delete([utterance.number])
                return key
        else:
            if key == ENTER:
                store.set_text(utterance.number, text)
                if adds_terms:
                    add_corrected_terms(transcript.text, text, keyboard)
            return key


def _recognise(store: Store, utterance: StoredUtterance, transcriber: Transcriber) -> tuple[Samples, Transcript]:
    """Transcribes an utterance, prints the words with unsure ones marked, and stores a hypothesis if there is none."""
    from device_app.audio.samples import SAMPLE_RATE, read

    audio = read(utterance.audio)
    transcript = transcriber.transcribe(audio, SAMPLE_RATE)
    review.show_words(transcript.words)
    if utterance.hypothesis is None:
        store.set_hypothesis(utterance.number, transcript.text, transcript.confidence)
    return audio, transcript
