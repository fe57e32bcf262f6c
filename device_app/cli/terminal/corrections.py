"""Adds corrected words to the list of terms."""

from __future__ import annotations

from device_app.cli import options
from device_app.cli.terminal.keyboard import Keyboard


def add_corrected_terms(hypothesis: str | None, text: str | None, keyboard: Keyboard | None = None) -> None:
    """Adds the words that a hypothesis lacks to the list of terms, and shows them, unless the user has turned this off.

    Args:
        hypothesis: what was recognised; None where nothing was.
        text: what was said.
        keyboard: asks whether to keep the words; without one they are kept, and a command that removes them is shown.
    """
    from device_app.data.terms import Term, changed_terms, stored_terms
    from device_app.data.terms.corrected_words import corrected_words

    words = [Term(word) for word in corrected_words(hypothesis, text)] if hypothesis and text else []
    known = stored_terms()
    new = [word for word in words if word.key not in {term.key for term in known.terms}]
    if not new or not known.from_corrections:
        return
    shown = ", ".join(word.text for word in new)
    if keyboard is not None:
        options.tell(f"  Expected from now on: {shown} · n refuses, any other key continues")
        if keyboard.poll(None) == "n":
            return
    with changed_terms() as box:
        box[0] = box[0].with_terms(new, origin="corrected")
    if keyboard is None:
        options.tell(f"Expected from now on: {shown} ('asr-edge terms remove' takes a word off the list)")
