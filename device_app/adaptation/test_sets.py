"""What versions of a model are judged by: held-out utterances and the canary, and what is heard in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_app.adaptation.gate import Heard
from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Screen


@dataclass(frozen=True)
class Exam:
    """What versions are judged by, by domain; and what a version (its number) hears that is in service."""

    sets: Mapping[str, Sequence[Utterance]]
    before: Mapping[str, Heard]
    version: int


def examine(
    store: Store,
    ledger: Ledger,
    domain: str,
    held_out: Sequence[Utterance] | None,
    transcriber: Transcriber,
    screen: Screen,
) -> Exam:
    """A domain's held-out utterances, those of all that was learnt before, and the canary, heard as it is.

    Args:
        store: where there may be recordings of what was learnt before.
        ledger: of the model.
        domain: that is to be learnt.
        held_out: its utterances to judge by; None where there are no recordings of it, and nothing to ask of it.
        transcriber: of the version in service.
        screen: is told.
    """
    learnt = [one for one in ledger.learnt(ledger.current) if one != domain]
    known = {stats.domain for stats in store.stats()}
    for missing in set(learnt) - known:
        screen.say(f"There are no recordings of {missing} any more; that it is not forgotten cannot be checked.")
    sets = {} if held_out is None else {domain: held_out}
    sets |= {one: spoken for one in learnt if one in known and (spoken := held_out_of(store, one))}
    sets[GUARD_SET] = held_out_of(store, GUARD_SET)
    return Exam(sets, hear(transcriber, sets, screen, "hearing as it is"), ledger.current.id)


def held_out_of(store: Store, domain: str) -> list[Utterance]:
    """A domain's labelled utterances that are never learnt from; the canary has no others."""
    if domain == GUARD_SET:
        return list(guard_set())
    return loaded([u for u in store.utterances(domain) if u.text is not None and u.split == "test"])


def loaded(utterances: Sequence[StoredUtterance]) -> list[Utterance]:
    """Labelled utterances with their audio in memory."""
    return [replace(u, samples=u.read()) for u in utterances]


def hear(
    transcriber: Transcriber, sets: Mapping[str, Sequence[Utterance]], screen: Screen, label: str
) -> dict[str, Heard]:
    """What a version hears in each set of utterances."""
    found = {}
    with screen.progress(label, sum(map(len, sets.values()))) as advance:
        for domain, spoken in sets.items():
            hypotheses = []
            for one in spoken:
                hypotheses.append(transcriber.transcribe(one.read(), SAMPLE_RATE).text)
                advance(1)
            found[domain] = Heard([one.transcript for one in spoken], hypotheses)
    return found
