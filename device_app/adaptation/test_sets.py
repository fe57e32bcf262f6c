"""The test sets of the gate: held-out utterances of each domain, and the guard set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device_app.adaptation.divergence import TopOutputs
from device_app.adaptation.gate import Hypotheses, is_early_regression
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.guard_set.cache import read_cached, write_cached
from device_app.adaptation.guard_set.own import own_recordings
from device_app.data.names import GUARD_SET
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.execution import ExecutionContext
from device_app.models.baking import temporarily_baked
from device_app.models.ledger import Ledger
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Reporter
from editing.method import Tensors
from editing.task_vector import apply
from export.bundle import Bundle

GUARD_SET_PART = 24  # utterances; after each part, the rest is left out if the answer is known


@dataclass(frozen=True)
class TestSets:
    """The test sets of the gate, and the hypotheses of the active version for them.

    Attributes:
        sets: utterances by domain; the guard set's key is `GUARD_SET`, if there is general speech in this language.
        before: hypotheses of the version that was active when the sets were built.
        version: number of that version.
    """

    sets: Mapping[str, Sequence[Utterance]]
    before: Mapping[str, Hypotheses]
    version: int

    @property
    def bundled_guard_set(self) -> Sequence[Utterance]:
        """The bundled utterances of the guard set, which come before the user's own."""
        return [one for one in self.sets.get(GUARD_SET, ()) if not isinstance(one, StoredUtterance)]


def build_test_sets(
    store: Store,
    ledger: Ledger,
    domain: str,
    held_out: Sequence[Utterance] | None,
    transcriber: UtteranceTranscriber,
    reporter: Reporter,
    others: Sequence[str] = (),
) -> TestSets:
    """Collects the held-out utterances of a domain and of all earlier domains and the guard set; transcribes them.

    Args:
        store: the store with the recordings.
        ledger: the ledger of the model.
        domain: the new domain.
        held_out: held-out utterances of the new domain; None if it has none, so that no gain can be required.
        transcriber: the transcriber of the active version.
        reporter: receives progress and messages.
        others: further domains to collect if they have recordings; the active version need not be adapted to them.
    """
    active_domains = ledger.domains(ledger.current)
    earlier = [one for one in dict.fromkeys([*active_domains, *others]) if one != domain]
    stored = store.domains()
    label = "transcribing with the active version"
    groups = {one for edit in ledger.edits if edit.kind == "fleet" for one in edit.domains}  # never had recordings here
    for missing in set(active_domains).difference(stored, groups, [domain]):
        reporter.report(f"{missing} has no recordings any more, so forgetting of {missing} cannot be measured.")
    sets = {} if held_out is None else {domain: held_out}
    sets |= {one: utterances for one in earlier if one in stored and (utterances := held_out_utterances(store, one))}
    language = ledger.base.language
    bundled, own = list(guard_set(language)), _own_guard_set(store)
    if not bundled and not own:
        reporter.report(
            f"There is no guard set for the language {language!r}, so nobody checks what the edit does to general "
            "speech. 'asr-edge guard add' adds one."
        )
        return TestSets(sets, transcribe_sets(transcriber, sets, reporter, label), ledger.current.id)
    active = ledger.bundle(ledger.current)
    cached = read_cached(ledger.folder, active, bundled) if bundled else None
    sets[GUARD_SET] = [*bundled, *own] if cached is None else own  # those to transcribe
    before = transcribe_sets(transcriber, sets, reporter, label)
    if cached is not None:
        before[GUARD_SET] = cached.followed_by(before[GUARD_SET])
    elif bundled:
        write_cached(ledger.folder, active, bundled, before[GUARD_SET].first(len(bundled)))
    return TestSets({**sets, GUARD_SET: [*bundled, *own]}, before, ledger.current.id)


def general_speech(store: Store, language: str) -> list[Utterance]:
    """All utterances of the guard set of a language: the bundled ones, and the user's own."""
    return [*guard_set(language), *_own_guard_set(store)]


def test_set(store: Store, domain: str, language: str) -> list[Utterance]:
    """The test set of a domain: its labelled held-out utterances, or the guard set of a language."""
    return general_speech(store, language) if domain == GUARD_SET else held_out_utterances(store, domain)


def held_out_utterances(store: Store, domain: str) -> list[Utterance]:
    """The labelled held-out utterances of a domain."""
    return with_audio([u for u in store.utterances(domain) if u.text is not None and u.split == "test"])


def _own_guard_set(store: Store) -> list[Utterance]:
    return with_audio([u for u in own_recordings(store) if u.text is not None])


def with_audio(utterances: Sequence[StoredUtterance]) -> list[Utterance]:
    """Copies of labelled utterances with their audio in memory."""
    return [u.in_memory() for u in utterances]


def transcribe_sets(
    transcriber: UtteranceTranscriber,
    sets: Mapping[str, Sequence[Utterance]],
    reporter: Reporter,
    label: str,
    before: Mapping[str, Hypotheses] | None = None,
    tolerance: float | None = None,
) -> dict[str, Hypotheses]:
    """Transcribes each set of utterances; returns the hypotheses by domain.

    Those of the guard set have the model's outputs too, and are of its first utterances only if these show a
    regression already.

    Args:
        transcriber: the transcriber of the version to measure.
        sets: utterances by domain.
        reporter: receives progress.
        label: text beside the progress bar.
        before: the hypotheses of the version to compare with, for the same sets. The divergence from that version is
            measured on the guard set.
        tolerance: how much its WER may rise, a fraction; None measures all of the guard set.
    """
    with reporter.progress(label, sum(map(len, sets.values())) + len(sets.get(GUARD_SET, ()))) as advance:
        domains = {name: utterances for name, utterances in sets.items() if name != GUARD_SET}
        found = {name: _texts(transcriber, utterances, advance) for name, utterances in domains.items()}
        if GUARD_SET in sets:
            old = None if before is None else before[GUARD_SET]
            found[GUARD_SET] = _general_speech(transcriber, sets[GUARD_SET], old, tolerance, advance)
    return found


def _general_speech(
    transcriber: UtteranceTranscriber,
    utterances: Sequence[Utterance],
    before: Hypotheses | None,
    tolerance: float | None,
    advance: Callable[[float], None],
) -> Hypotheses:
    """Hypotheses and outputs, part by part; arguments as for `transcribe_sets`."""
    found = Hypotheses([], [])
    for start in range(0, len(utterances), GUARD_SET_PART):
        part = utterances[start : start + GUARD_SET_PART]
        texts = _texts(transcriber, part, advance)
        outputs = () if before is None else before.outputs[start : start + GUARD_SET_PART]
        found = found.followed_by(with_outputs(texts, transcriber, part, outputs, advance))
        count = len(found.references)
        if before is None or tolerance is None or count == len(utterances):
            continue
        if is_early_regression(before.first(count), found, tolerance):
            break
    return found


def transcribe_texts(
    transcriber: UtteranceTranscriber, sets: Mapping[str, Sequence[Utterance]], reporter: Reporter, label: str
) -> dict[str, Hypotheses]:
    """As `transcribe_sets`, but without the model's outputs, where only error rates are needed."""
    with reporter.progress(label, sum(map(len, sets.values()))) as advance:
        return {domain: _texts(transcriber, utterances, advance) for domain, utterances in sets.items()}


def _texts(
    transcriber: UtteranceTranscriber, utterances: Sequence[Utterance], advance: Callable[[float], None]
) -> Hypotheses:
    return Hypotheses([one.transcript for one in utterances], transcriber.texts(utterances, advance))


def with_outputs(
    hypotheses: Hypotheses,
    transcriber: UtteranceTranscriber,
    utterances: Sequence[Utterance],
    before: Sequence[TopOutputs],
    advance: Callable[[float], None],
) -> Hypotheses:
    """Adds the model's outputs for the utterances, their divergences from another version, and the losses.

    Args:
        hypotheses: for the utterances.
        transcriber: the transcriber of the version to measure.
        utterances: with references.
        before: the other version's outputs for the same utterances; if empty, no divergences are measured.
        advance: called with 1 after each utterance.
    """

    def measure(of: Transcriber, index: int, one: Utterance) -> tuple[TopOutputs, float | None, float | None]:
        """The outputs for an utterance, their divergence and the loss; keeps no log-probabilities, which are large."""
        log_probabilities = of.log_probabilities(one.read(), one.transcript)
        divergence = before[index].divergence(log_probabilities) if before else None
        return TopOutputs.of(log_probabilities), divergence, of.text_loss(log_probabilities, one.transcript)

    measured = transcriber.map(measure, utterances, advance)
    return replace(
        hypotheses,
        outputs=[outputs for outputs, _, _ in measured],
        divergences=[divergence for _, divergence, _ in measured if divergence is not None],
        losses=tuple(loss for _, _, loss in measured if loss is not None),
    )


def transcribe_sets_with(
    weights: Tensors,
    bundle: Bundle,
    sets: Mapping[str, Sequence[Utterance]],
    context: ExecutionContext,
    label: str,
    before: Mapping[str, Hypotheses],
    tolerance: float | None = None,
) -> dict[str, Hypotheses]:
    """Transcribes each set of utterances with other weights of a bundle, baked temporarily to int8 files.

    Args:
        weights: all weights of the version to measure, by name.
        bundle: the bundle whose graphs get the weights.
        sets, label, before, tolerance: as for `transcribe_sets`.
        context: threads and reporter.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with temporarily_baked(bundle, weights) as folder:
        transcriber = UtteranceTranscriber(bundle, context.threads, folder=folder)
        return transcribe_sets(transcriber, sets, context.reporter, label, before, tolerance)


def scaled_sum(theta: Tensors, merged: Tensors, lam: float) -> Tensors:
    """Returns theta + lambda * merged.

    Every merge method is linear in lambda, so one merge serves for every lambda.

    Args:
        theta: the weights to start from, by name.
        merged: the result of a merge method at lambda 1, by name.
        lam: lambda.
    """
    scaled = {name: tensor * np.float32(lam) for name, tensor in merged.items()}
    return apply(theta, scaled, out=scaled)
