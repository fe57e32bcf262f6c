"""Builds and checks the training set of a domain from its labelled utterances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from device_app.adaptation.guard_set.own import own_recordings
from device_app.adaptation.label_check import MAX_CHECKED, check_labels
from device_app.adaptation.settings import AdaptationSettings, Orthography
from device_app.adaptation.test_sets import TestSets, build_test_sets, with_audio
from device_app.adaptation_notes import note_nothing_to_gain
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.evaluation.orthography import differs_in_style, in_model_style
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.reporter import Reporter
from device_app.status import MIN_LABELLED, RECOMMENDED, domain_option
from editing.errors import BadInputError, counted
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle

FEW_HELD_OUT = 8  # held-out utterances, of 40: with fewer, only a large gain is significant
MIN_HELD_OUT = 3  # utterances; the split holds out about a fifth, of a small domain possibly none
# Of a corpus that is all for training, a tenth is held out, and at most so many utterances: with 3 of 400, the gate
# rejected an edit that took the WER of other speakers from 37 to 28 %.
MAX_OF_CORPUS = 40
ORTHOGRAPHY_MESSAGES: Mapping[Orthography, str] = {
    "keep": "The texts lack capitals or punctuation that the model writes. They are added for training (--orthography "
    "keep). With 'learn', the model would write all speech as in the texts.",
    "learn": "The texts lack capitals or punctuation that the model writes. It learns to write all speech as in the "
    "texts (--orthography learn). With 'keep', it would keep its own style.",
}


@dataclass(frozen=True)
class TrainingSet:
    """The input of a fine-tuning.

    Attributes:
        bundle: the version to start from.
        training: labelled recordings to train on.
        held_out: utterances for validation and early stopping.
        origin: metadata of the task vector.
    """

    bundle: Bundle
    training: Sequence[Utterance]
    held_out: Sequence[Utterance]
    origin: Origin


@dataclass(frozen=True)
class FineTuningResult:
    """The result of a fine-tuning.

    Attributes:
        vector: the task vector, quantised as a file stores it.
        losses: training loss per token of each epoch.
        seconds: duration of the fine-tuning.
    """

    vector: TaskVector
    losses: Sequence[float]
    seconds: float


# Fine-tunes, on this machine or on another.
FineTune = Callable[[TrainingSet], FineTuningResult]


def prepare(
    store: Store, ledger: Ledger, settings: AdaptationSettings, context: ExecutionContext
) -> tuple[TestSets, TrainingSet]:
    """Builds the test sets of the gate and the training set, and checks the labels. Changes no edit and no version.

    Raises:
        BadInputError: the settings of the merge are wrong, there are too few labelled utterances, no speech is
            recognised in them, their labels do not fit their recordings, or there is nothing to gain: the active
            version makes no error on the held-out ones.
    """
    settings.merge.check(vectors=1, parameters=ledger.base.shapes())  # before the fine-tuning, not after it
    domain, reporter = settings.domain, context.reporter
    training, held_out = _training_and_held_out(store, ledger, domain, reporter)
    reporter.report(
        f"{len(held_out)} of the {len(held_out) + len(training)} labelled utterances are held out, to measure the "
        f"result; {len(training)} are trained on."
        + (
            " With so few held out, only a large gain can be shown; more recordings are better."
            if len(held_out) < FEW_HELD_OUT
            else ""
        )
    )
    start = ledger.bundle(ledger.current)
    transcriber = UtteranceTranscriber(
        start, context.threads, on_bake=lambda: reporter.report(f"Preparing {start.name} ...")
    )
    test_sets = build_test_sets(store, ledger, domain, with_audio(held_out), transcriber, reporter)
    if settings.gate.requires_gain and not settings.gate.force and test_sets.before[domain].wer == 0:
        note_nothing_to_gain(ledger, [u for u in store.utterances(domain) if u.text is not None])
        raise BadInputError(
            f"{domain}: the active model makes no error on its {len(held_out)} held-out utterances, so there is "
            "nothing to gain; nothing was changed. Record or import utterances that it gets wrong; --force adapts "
            "all the same"
        )
    hypotheses = _transcribe_training(transcriber, training, settings, reporter)
    texts = [u.transcript for u in training]
    if not settings.gate.force:
        check_labels(texts, hypotheses, domain, start.language, settings.seed)
    validation = test_sets.before[domain]
    references = list(validation.references)
    if differs_in_style(texts[: len(hypotheses)], hypotheses):
        reporter.report(ORTHOGRAPHY_MESSAGES[settings.orthography])
        if settings.orthography == "keep":
            texts = in_model_style(texts, hypotheses)
            references = in_model_style(references, validation.hypotheses)
    labelled = [replace(u, text=text) for u, text in zip(training, texts, strict=True)]
    replayed = _replayed(store, ledger, settings, held_out)
    if settings.orthography == "keep":
        replayed = _in_model_style(replayed, transcriber, reporter)
    origin = Origin(
        family=start.family,
        base=ledger.base.weights_hash,
        domain=domain,
        utterances=len(training),
        seconds=round(sum(u.duration_s for u in training), 1),
    )
    return test_sets, TrainingSet(
        bundle=start,
        training=[*labelled, *replayed],
        held_out=[replace(u, text=text) for u, text in zip(held_out, references, strict=True)],
        origin=origin,
    )


def _training_and_held_out(
    store: Store, ledger: Ledger, domain: str, reporter: Reporter
) -> tuple[list[StoredUtterance], list[StoredUtterance]]:
    """The labelled utterances of a domain: those for training, and the held-out ones.

    Recordings that are in the user's guard set too are left out. A model that was trained on them would not show a
    regression on it.

    Raises:
        BadInputError: there are too few.
    """
    with_text = [u for u in store.utterances(domain) if u.text is not None]
    guarded = _hashes_of_guard_set(store)
    labelled = [u for u in with_text if u.sha256 not in guarded]
    if left_out := len(with_text) - len(labelled):
        reporter.report(f"{counted(left_out, 'recording')} of {domain} left out, because the guard set has the same.")
    if len(labelled) < MIN_LABELLED:
        raise BadInputError(
            f"{domain} has {counted(len(labelled), 'labelled utterance')}; adaptation needs at least "
            f"{MIN_LABELLED}, better {RECOMMENDED}. "
            f"'asr-edge record{domain_option(domain)}' records more, 'asr-edge label' labels saved recordings"
        )
    if not any(domain in edit.domains for edit in ledger.edits):  # otherwise the model may have been trained on some
        is_divided = any(u.split == "test" for u in labelled)
        tenth = 0 if is_divided else min(len(labelled) // 10, MAX_OF_CORPUS)
        store.hold_out(domain, max(MIN_HELD_OUT, tenth))
        labelled = [store.get(u.number) for u in labelled]
    training = [u for u in labelled if u.split == "train"]
    held_out = [u for u in labelled if u.split == "test"]
    if not training or not held_out:
        purpose = "testing" if not held_out else "training"
        raise BadInputError(f"{domain} has no utterances for {purpose}; record or import more")
    return training, held_out


def _hashes_of_guard_set(store: Store) -> set[str]:
    """The hashes of the recordings of the user's guard set."""
    return {u.sha256 for u in own_recordings(store)}


def _transcribe_training(
    transcriber: UtteranceTranscriber,
    training: Sequence[StoredUtterance],
    settings: AdaptationSettings,
    reporter: Reporter,
) -> list[str]:
    """Hypotheses of the active version for the training utterances, or for the first of them.

    Only `in_model_style` needs all of them; to check the labels, `MAX_CHECKED` are enough.

    Raises:
        BadInputError: no word is recognised in any of them.
    """
    needed = len(training) if settings.orthography == "keep" else min(len(training), MAX_CHECKED)
    with reporter.progress("transcribing the training set", needed) as advance:
        hypotheses = transcriber.texts(training[:needed], advance)
    if not any(hypotheses):
        raise BadInputError(
            f"no words are recognised in the recordings of {settings.domain}: is there speech in them? "
            f"'asr-edge dataset show {settings.domain}' lists them"
        )
    return hypotheses


def _replayed(
    store: Store, ledger: Ledger, settings: AdaptationSettings, held_out: Sequence[StoredUtterance]
) -> list[StoredUtterance]:
    """Random training utterances of the other domains that the model was adapted to, ordered by domain.

    Leaves out recordings of the user's guard set and those that are held out in the new domain, because they measure
    the result.
    """
    if not settings.replay:
        return []
    adapted = {domain for edit in ledger.edits for domain in edit.domains} - {settings.domain}
    excluded = _hashes_of_guard_set(store) | {u.sha256 for u in held_out}
    candidates = [
        u
        for domain in sorted(adapted.intersection(store.domains()))
        for u in store.utterances(domain)
        if u.text is not None and u.split == "train" and u.sha256 not in excluded
    ]
    chosen = np.random.default_rng(settings.seed).permutation(len(candidates))[: settings.replay]
    return [candidates[index] for index in sorted(chosen)]


def _in_model_style(
    utterances: Sequence[StoredUtterance], transcriber: UtteranceTranscriber, reporter: Reporter
) -> list[StoredUtterance]:
    """The same utterances; where the labels of a domain lack the model's case and punctuation, they are added.

    Args:
        utterances: ordered by domain.
        transcriber: the transcriber of the active version, whose hypotheses show its style.
        reporter: receives progress.
    """
    styled = []
    for _, of_domain in groupby(utterances, key=lambda u: u.domain):
        group = list(of_domain)
        labels = [u.transcript for u in group]
        with reporter.progress(f"transcribing recordings of {group[0].domain}", len(group)) as advance:
            hypotheses = transcriber.texts(group, advance)
        if differs_in_style(labels, hypotheses):
            labels = in_model_style(labels, hypotheses)
        styled += [replace(u, text=label) for u, label in zip(group, labels, strict=True)]
    return styled
