"""The test sets of the gate: held-out utterances of each domain, and the guard set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set import guard_set
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.execution import ExecutionContext
from device_app.models.baking import temporarily_baked
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Reporter
from editing.method import Tensors
from editing.task_vector import apply
from export.bundle import Bundle


@dataclass(frozen=True)
class TestSets:
    """The test sets of the gate, and the hypotheses of the active version for them.

    Attributes:
        sets: utterances by domain; the guard set's key is `GUARD_SET`.
        before: hypotheses of the version that was active when the sets were built.
        version: number of that version.
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
    """Collects the held-out utterances of a domain and of all earlier domains and the guard set; transcribes them.

    Args:
        store: the store with the recordings.
        ledger: the ledger of the model.
        domain: the new domain.
        held_out: held-out utterances of the new domain; None if it has no recordings and no gain is required.
        transcriber: of the active version.
        reporter: receives progress and messages.
    """
    earlier = [one for one in ledger.domains(ledger.current) if one != domain]
    known = {stats.domain for stats in store.stats()}
    for missing in set(earlier) - known:
        reporter.report(f"{missing} has no recordings any more, so forgetting of {missing} cannot be measured.")
    sets = {} if held_out is None else {domain: held_out}
    sets |= {one: utterances for one in earlier if one in known and (utterances := held_out_utterances(store, one))}
    sets[GUARD_SET] = held_out_utterances(store, GUARD_SET)
    return TestSets(
        sets, transcribe_sets(transcriber, sets, reporter, "transcribing with the active version"), ledger.current.id
    )


def held_out_utterances(store: Store, domain: str) -> list[Utterance]:
    """The labelled held-out utterances of a domain; all utterances of the guard set."""
    if domain == GUARD_SET:
        return list(guard_set())
    return with_audio([u for u in store.utterances(domain) if u.text is not None and u.split == "test"])


def with_audio(utterances: Sequence[StoredUtterance]) -> list[Utterance]:
    """Copies of labelled utterances with their audio in memory."""
    return [replace(u, samples=u.read()) for u in utterances]


def transcribe_sets(
    transcriber: Transcriber, sets: Mapping[str, Sequence[Utterance]], reporter: Reporter, label: str
) -> dict[str, Hypotheses]:
    """Transcribes each set of utterances; returns the hypotheses by domain."""
    found = {}
    with reporter.progress(label, sum(map(len, sets.values()))) as advance:
        for domain, utterances in sets.items():
            hypotheses = []
            for one in utterances:
                hypotheses.append(transcriber.transcribe(one.read(), SAMPLE_RATE).text)
                advance(1)
            found[domain] = Hypotheses([one.transcript for one in utterances], hypotheses)
    return found


def transcribe_sets_with(
    weights: Tensors, bundle: Bundle, sets: Mapping[str, Sequence[Utterance]], context: ExecutionContext, label: str
) -> dict[str, Hypotheses]:
    """Transcribes each set of utterances with other weights of a bundle, baked temporarily to int8 files.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with temporarily_baked(bundle, weights) as folder:
        transcriber = Transcriber(bundle, threads=context.threads, folder=folder)
        return transcribe_sets(transcriber, sets, context.reporter, label)


def scaled_sum(theta: Tensors, merged: Tensors, lam: float) -> Tensors:
    """Returns theta + lambda * merged, where `merged` is the result of a merge method at lambda 1.

    Every merge method is linear in lambda, so one merge serves for every lambda.
    """
    scaled = {name: tensor * np.float32(lam) for name, tensor in merged.items()}
    return apply(theta, scaled, out=scaled)
