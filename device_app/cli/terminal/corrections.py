"""What a corrected word does: it becomes a term, unless the person does not want that."""

from __future__ import annotations

from device_app.cli import options


def expect_corrected(hypothesis: str | None, text: str | None) -> None:
    """Adds the words that a hypothesis lacks to the list of terms, and says so; not where corrections add none.

    Args:
        hypothesis: what was recognised; None where nothing was.
        text: what was said.
    """
    from device_app.data.terms import Term, changed_terms, stored_terms
    from device_app.data.terms.corrected_words import corrected_words

    words = corrected_words(hypothesis, text) if hypothesis and text else []
    if not words or not stored_terms().from_corrections:
        return
    with changed_terms() as box:
        known = {term.key for term in box[0].terms}
        new = [word for word in words if word.casefold() not in known]
        if new:
            box[0] = box[0].with_terms([Term(word) for word in new], origin="corrected")
    if new:
        options.tell(f"Expected from now on: {', '.join(new)} ('asr-edge terms remove' takes a word off the list)")
