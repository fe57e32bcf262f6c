"""The training set of a domain: its labelled utterances, checked before anything is fine-tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from device_app.adaptation.label_check import CHECKED, check_labels
from device_app.adaptation.settings import AdaptationSettings, Orthography
from device_app.adaptation.test_sets import TestSets, build_test_sets, loaded
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.evaluation.orthography import as_the_model_writes, differs
from device_app.execution import ExecutionContext
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Reporter
from editing.errors import BadInputError
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle

FEWEST = 10  # labelled utterances, the held-out ones among them
FEWEST_HELD_OUT = 3
ORTHOGRAPHY: Mapping[Orthography, str] = {
    "keep": "The labels lack the capitals or the punctuation that the model writes. It learns them as it would write "
    "them itself (--orthography keep); 'learn' would teach it theirs, for all speech.",
    "learn": "The labels lack the capitals or the punctuation that the model writes. It learns to write as they do "
    "(--orthography learn), for all speech; 'keep' would keep its own way.",
}


@dataclass(frozen=True)
class TrainingSet:
    """All that a fine-tuning is given.

    Attributes:
        bundle: the version to start from.
        training: labelled recordings to train on.
        held_out: utterances for validation: they decide when to stop.
        origin: metadata of the task vector.
    """

    bundle: Bundle
    training: Sequence[Utterance]
    held_out: Sequence[Utterance]
    origin: Origin


@dataclass(frozen=True)
class FineTuningResult:
    """What a fine-tuning gives.

    Attributes:
        vector: the task vector in the precision in which it is stored.
        losses: training loss per token of each epoch.
        seconds: that the fine-tuning took.
    """

    vector: TaskVector
    losses: Sequence[float]
    seconds: float


# Fine-tunes, on this machine or on another.
FineTune = Callable[[TrainingSet], FineTuningResult]


def prepare(
    store: Store, ledger: Ledger, settings: AdaptationSettings, context: ExecutionContext
) -> tuple[TestSets, TrainingSet]:
    """The training set, checked, and the test sets of the gate. Changes no edit and no version.

    Raises:
        BadInputError: the merge method does not exist, there are too few labelled utterances, no speech, or
            labels that belong to other recordings.
    """
    settings.merge.with_defaults(vectors=1)  # a mistake in it is reported now, not after the fine-tuning
    domain, reporter = settings.domain, context.reporter
    training, held_out = _snapshot(store, ledger, domain)
    start = ledger.bundle(ledger.current)
    transcriber = Transcriber(
        start, threads=context.threads, on_bake=lambda: reporter.say(f"Preparing {start.name} ...")
    )
    test_sets = build_test_sets(store, ledger, domain, loaded(held_out), transcriber, reporter)
    hypotheses = _transcribe_training(transcriber, training, settings, reporter)
    texts = [u.transcript for u in training]
    if not settings.gate.force:
        check_labels(texts, hypotheses, domain, settings.seed)
    validation = test_sets.before[domain]
    references = list(validation.references)
    if differs(texts[: len(hypotheses)], hypotheses):
        reporter.say(ORTHOGRAPHY[settings.orthography])
        if settings.orthography == "keep":
            texts = as_the_model_writes(texts, hypotheses)
            references = as_the_model_writes(references, validation.hypotheses)
    labelled = [replace(u, text=text) for u, text in zip(training, texts, strict=True)]
    origin = Origin(
        family=start.family,
        base=ledger.base.weights_hash,
        domain=domain,
        utterances=len(training),
        seconds=round(sum(u.duration_s for u in training), 1),
    )
    return test_sets, TrainingSet(
        bundle=start,
        training=[*labelled, *_replayed(store, ledger, settings)],
        held_out=[replace(u, text=text) for u, text in zip(held_out, references, strict=True)],
        origin=origin,
    )


def _snapshot(store: Store, ledger: Ledger, domain: str) -> tuple[list[StoredUtterance], list[StoredUtterance]]:
    """The domain's labelled utterances: those to train on, and those held out.

    Raises:
        BadInputError: there are too few.
    """
    labelled = [u for u in store.utterances(domain) if u.text is not None]
    if len(labelled) < FEWEST:
        raise BadInputError(
            f"{domain} has {len(labelled)} labelled utterances; {FEWEST} are the least to learn from, 40 are good. "
            f"'asr-edge record --domain {domain}' records more, 'asr-edge label' labels what was kept"
        )
    if not any(domain in edit.domains for edit in ledger.edits):  # else the model may have been trained on some already
        store.hold_out(domain, FEWEST_HELD_OUT)
        labelled = [store.get(u.number) for u in labelled]
    training = [u for u in labelled if u.split == "train"]
    held_out = [u for u in labelled if u.split == "test"]
    if not training or not held_out:
        which = "held out, to judge by" if not held_out else "to learn from"
        raise BadInputError(f"{domain} has no utterance {which}; record or import more")
    return training, held_out


def _transcribe_training(
    transcriber: Transcriber, training: Sequence[StoredUtterance], settings: AdaptationSettings, reporter: Reporter
) -> list[str]:
    """Hypotheses of the active version for the training utterances; for all of them only if they are needed."""
    needed = len(training) if settings.orthography == "keep" else min(len(training), CHECKED)
    hypotheses = []
    with reporter.progress("hearing what is to be learnt", needed) as advance:
        for utterance in training[:needed]:
            hypotheses.append(transcriber.transcribe(utterance.read(), SAMPLE_RATE).text)
            advance(1)
    if not any(hypotheses):
        raise BadInputError(
            f"nothing is recognised in the recordings of {settings.domain}: is there speech in them? "
            f"'asr-edge dataset show {settings.domain}' lists them"
        )
    return hypotheses


def _replayed(store: Store, ledger: Ledger, settings: AdaptationSettings) -> list[Utterance]:
    """Older training utterances of other domains that the model was adapted to, chosen at random."""
    if not settings.replay:
        return []
    adapted = {domain for edit in ledger.edits for domain in edit.domains} - {settings.domain}
    known = adapted & {stats.domain for stats in store.stats()}
    older = [
        u for domain in sorted(known) for u in store.utterances(domain) if u.text is not None and u.split == "train"
    ]
    picks = np.random.default_rng(settings.seed).permutation(len(older))[: settings.replay]
    return [older[i] for i in sorted(picks)]
