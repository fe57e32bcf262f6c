"""Adds corrected words to the list of terms."""

from __future__ import annotations

from device_app.cli import options
from device_app.cli.terminal.keyboard import Keyboard
from editing.errors import StorageError


def add_corrected_terms(hypothesis: str | None, text: str | None, keyboard: Keyboard | None = None) -> None:
    """Adds the words that a hypothesis lacks to the list of terms, and shows them, unless the user has turned this off.

    The text is stored before, so a list that is damaged or cannot be written is a message and no error.

    Args:
        hypothesis: what was recognised; None where nothing was.
        text: what was said.
        keyboard: asks whether to keep the words; without one they are kept, and a command that removes them is shown.
    """
    try:
        _add(hypothesis, text, keyboard)
    except StorageError as error:
        options.tell(f"The text is stored, but no word was added to the list of terms: {error}")


def _add(hypothesis: str | None, text: str | None, keyboard: Keyboard | None) -> None:
    from device_app.data.terms.corrected_words import add_corrected_words, new_terms

    if not (new := new_terms(hypothesis, text)):
        return
    shown = ", ".join(word.text for word in new)
    if keyboard is not None:
        options.tell(f"  Expected from now on: {shown} · n refuses, any other key continues")
        if keyboard.poll(None) == "n":
            return
    add_corrected_words(hypothesis, text)
    if keyboard is None:
        options.tell(f"Expected from now on: {shown} ('asr-edge terms remove' takes a word off the list)")
