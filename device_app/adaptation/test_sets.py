"""The test sets that versions of a model are judged by: held-out utterances of each domain, and the guard set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Reporter


@dataclass(frozen=True)
class TestSets:
    """What versions are judged by, by domain.

    Attributes:
        sets: utterances by domain; the guard set's key is `GUARD_SET`.
        before: hypotheses of the version that was active when the sets were built.
        version: the number of that version.
    """

    sets: Mapping[str, Sequence[Utterance]]
    before: Mapping[str, Hypotheses]
    version: int


def build_test_sets(
    store: Store,
    ledger: Ledger,
    domain: str,
    held_out: Sequence[Utterance] | None,
    transcriber: Transcriber,
    reporter: Reporter,
) -> TestSets:
    """Held-out utterances of a domain and of all earlier domains, and the guard set, transcribed once.

    Args:
        store: where there may be recordings of earlier domains.
        ledger: of the model.
        domain: the new one.
        held_out: its utterances to judge by; None where there are no recordings of it and no gain is required.
        transcriber: of the active version.
        reporter: receives progress and messages.
    """
    earlier = [one for one in ledger.domains(ledger.current) if one != domain]
    known = {stats.domain for stats in store.stats()}
    for missing in set(earlier) - known:
        reporter.say(f"There are no recordings of {missing} any more; that it is not forgotten cannot be checked.")
    sets = {} if held_out is None else {domain: held_out}
    sets |= {one: utterances for one in earlier if one in known and (utterances := held_out_of(store, one))}
    sets[GUARD_SET] = held_out_of(store, GUARD_SET)
    return TestSets(sets, transcribe_sets(transcriber, sets, reporter, "hearing as it is"), ledger.current.id)


def held_out_of(store: Store, domain: str) -> list[Utterance]:
    """A domain's labelled utterances that no version is trained on; the guard set has no others."""
    if domain == GUARD_SET:
        return list(guard_set())
    return loaded([u for u in store.utterances(domain) if u.text is not None and u.split == "test"])


def loaded(utterances: Sequence[StoredUtterance]) -> list[Utterance]:
    """Labelled utterances with their audio in memory."""
    return [replace(u, samples=u.read()) for u in utterances]


def transcribe_sets(
    transcriber: Transcriber, sets: Mapping[str, Sequence[Utterance]], reporter: Reporter, label: str
) -> dict[str, Hypotheses]:
    """The hypotheses of a version for each set of utterances."""
    found = {}
    with reporter.progress(label, sum(map(len, sets.values()))) as advance:
        for domain, utterances in sets.items():
            hypotheses = []
            for one in utterances:
                hypotheses.append(transcriber.transcribe(one.read(), SAMPLE_RATE).text)
                advance(1)
            found[domain] = Hypotheses([one.transcript for one in utterances], hypotheses)
    return found
