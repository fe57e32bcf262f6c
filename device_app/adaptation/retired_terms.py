"""Takes corrected words off the list of terms once an edit has put them into the weights, and puts them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from device_app.data.store import Store
from device_app.data.terms import Term, TermList, change_terms, stored_terms
from device_app.data.utterance import StoredUtterance
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger
from device_app.recognition.keyterms.terms import Keyterms
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from editing.errors import BadAudioError, BadInputError, StorageError

MAX_CHECKED = 3  # recordings that are transcribed for each term, held-out ones first
CHECKING = "checking corrected words"  # the label of the progress, which the page and its tasks know


def retire_terms(store: Store, ledger: Ledger, edit: int, domain: str, context: ExecutionContext) -> list[str]:
    """Removes from the list the corrected words that the active version recognises without help.

    A word is recognised if the hypothesis has it for each of up to `MAX_CHECKED` labelled recordings of the domain in
    which it is said. Terms that the user has added or imported stay. A damaged list or recording, or Ctrl-C, is only
    reported, because the version is active already.

    Args:
        store: the store with the recordings.
        ledger: the ledger of the model, inside `ledger.changing()`; its active version is checked.
        edit: the number of the edit that was promoted, which records the terms for `restore_terms`.
        domain: the domain of the adaptation.
        context: threads and reporter.

    Returns:
        The terms that were removed.
    """
    try:
        return _retire(store, ledger, edit, domain, context)
    except KeyboardInterrupt:
        context.reporter.report("No term was taken off the list, because you interrupted it.")
        return []
    except (StorageError, BadAudioError) as error:
        context.reporter.report(f"No term was taken off the list: {error}")
        return []


def _retire(store: Store, ledger: Ledger, edit: int, domain: str, context: ExecutionContext) -> list[str]:
    corrected = [term for term in stored_terms().terms if term.origin == "corrected"]
    recordings = _recordings(store, domain, corrected)
    if not recordings:
        return []
    terms = Keyterms([term for term in corrected if term.key in recordings])
    transcriber = UtteranceTranscriber(ledger.bundle(ledger.current), context.threads)
    utterances = {one.number: one for of_term in recordings.values() for one in of_term}
    with context.reporter.progress(CHECKING, len(utterances)) as advance:
        hypotheses = transcriber.texts(list(utterances.values()), advance)
    found = {number: terms.found_in(text) for number, text in zip(utterances, hypotheses, strict=True)}
    recognised = {key for key, of_term in recordings.items() if all(key in found[one.number] for one in of_term)}

    def without_recognised(listed: TermList) -> TermList:
        removed = [term.text for term in listed.terms if term.key in recognised and term.origin == "corrected"]
        if not removed:
            return listed
        ledger.record_retired_terms(edit, removed)  # first, so that a kill in between does not lose them
        return listed.without(removed)

    before, now = change_terms(without_recognised)
    remaining = {term.key for term in now.terms}
    return [term.text for term in before.terms if term.key not in remaining]


def restore_terms(ledger: Ledger, on_failure: Callable[[str], None]) -> list[str]:
    """Puts terms back on the list that edits had retired, once the active version has no task vector of those edits.

    Call it inside `ledger.changing()`, after a revert or a rollback. A term that the user has added meanwhile stays as
    it is. If the list is damaged or full, the next call tries again.

    Args:
        ledger: the ledger of the model.
        on_failure: is called with a message if the terms cannot be put back.

    Returns:
        The terms that were put back.
    """
    used = {vector for applied in ledger.current.applied for vector in applied.vectors}
    undone = [edit for edit in ledger.edits if edit.retired_terms and not used & {*edit.vectors}]
    texts = list(dict.fromkeys(text for edit in undone for text in edit.retired_terms))
    if not texts:
        return []
    try:
        before, now = change_terms(lambda listed: _with_restored(listed, texts))
        for edit in undone:
            ledger.record_retired_terms(edit.id, ())
    except (BadInputError, StorageError) as error:
        on_failure(f"No term was put back on the list: {error}")
        return []
    known = {term.key for term in before.terms}
    return [term.text for term in now.terms if term.key not in known]


def _with_restored(listed: TermList, texts: Sequence[str]) -> TermList:
    """The list with those of the texts that it lacks."""
    known = {term.key for term in listed.terms}
    return listed.with_terms([term for term in map(Term, texts) if term.key not in known], origin="corrected")


def _recordings(store: Store, domain: str, terms: Sequence[Term]) -> Mapping[str, Sequence[StoredUtterance]]:
    """Labelled recordings of a domain in which each term is said, by its key; without terms that are never said."""
    if not terms:
        return {}
    keyterms = Keyterms(terms)
    found: dict[str, list[StoredUtterance]] = {}
    labelled = [one for one in store.utterances(domain) if one.text is not None]
    for utterance in sorted(labelled, key=lambda one: one.split != "test"):
        for key in dict.fromkeys(keyterms.found_in(utterance.transcript)):
            if len(found.setdefault(key, [])) < MAX_CHECKED:
                found[key].append(utterance)
    return found
