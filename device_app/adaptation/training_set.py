"""What there is to learn in a domain, checked before anything is learnt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from device_app.adaptation.settings import Orthography, Plan, settings_of
from device_app.adaptation.test_sets import Exam, examine, loaded
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.store import Store
from device_app.data.utterance import StoredUtterance, Utterance
from device_app.evaluation.error_rates import english
from device_app.evaluation.orthography import as_the_model_writes, differs
from device_app.models.ledger import Ledger
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Screen
from editing.errors import BadInputError
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle

FEWEST = 10  # labelled utterances, the held-out ones among them
FEWEST_HELD_OUT = 3
CHECKED = 60  # labels that are compared with what is heard
CHANCE = 0.05  # how often labels may fit that well when they belong to other recordings
ORTHOGRAPHY: Mapping[Orthography, str] = {
    "keep": "The labels lack the capitals or the punctuation that the model writes. It learns them as it would write "
    "them itself (--orthography keep); 'learn' would teach it theirs, for all speech.",
    "learn": "The labels lack the capitals or the punctuation that the model writes. It learns to write as they do "
    "(--orthography learn), for all speech; 'keep' would keep its own way.",
}


@dataclass(frozen=True)
class Lesson:
    """All that a fine-tuning is given.

    Attributes:
        bundle: the version to start from.
        training: labelled recordings to learn from.
        held_out: to know when to stop.
        origin: what the task vector says of itself.
    """

    bundle: Bundle
    training: Sequence[Utterance]
    held_out: Sequence[Utterance]
    origin: Origin


@dataclass(frozen=True)
class Learnt:
    """What a fine-tuning gives: a task vector as it is stored, training loss per token of each epoch, and seconds."""

    vector: TaskVector
    losses: Sequence[float]
    seconds: float


# Fine-tunes, on this machine or on another.
Tune = Callable[[Lesson], Learnt]


def prepare(store: Store, ledger: Ledger, plan: Plan, threads: int | None, screen: Screen) -> tuple[Exam, Lesson]:
    """What there is to learn, checked, and what it will be judged by. Changes no edit and no version.

    Raises:
        BadInputError: the plan's method does not exist, there are too few labelled utterances, no speech, or
            labels that belong to other recordings.
    """
    settings_of(plan)  # a mistake in it is told now, not after the fine-tuning
    training, held_out = _snapshot(store, ledger, plan.domain)
    start = ledger.bundle(ledger.current)
    transcriber = Transcriber(start, threads=threads, on_bake=lambda: screen.say(f"Preparing {start.name} ..."))
    exam = examine(store, ledger, plan.domain, loaded(held_out), transcriber, screen)
    heard = _hear_training(transcriber, training, plan, screen)
    texts = [u.transcript for u in training]
    _check_labels(texts, heard, plan)
    judged_by = exam.before[plan.domain]
    judges = list(judged_by.texts)
    if differs(texts[: len(heard)], heard):
        screen.say(ORTHOGRAPHY[plan.orthography])
        if plan.orthography == "keep":
            texts = as_the_model_writes(texts, heard)
            judges = as_the_model_writes(judges, judged_by.hypotheses)
    labelled = [replace(u, text=text) for u, text in zip(training, texts, strict=True)]
    origin = Origin(
        family=start.family,
        base=ledger.base.weights_hash,
        domain=plan.domain,
        utterances=len(training),
        seconds=round(sum(u.duration_s for u in training), 1),
    )
    return exam, Lesson(
        bundle=start,
        training=[*labelled, *_replayed(store, ledger, plan)],
        held_out=[replace(u, text=text) for u, text in zip(held_out, judges, strict=True)],
        origin=origin,
    )


def _snapshot(store: Store, ledger: Ledger, domain: str) -> tuple[list[StoredUtterance], list[StoredUtterance]]:
    """The domain's labelled utterances: those to learn from, and those held out.

    Raises:
        BadInputError: there are too few.
    """
    labelled = [u for u in store.utterances(domain) if u.text is not None]
    if len(labelled) < FEWEST:
        raise BadInputError(
            f"{domain} has {len(labelled)} labelled utterances; {FEWEST} are the least to learn from, 40 are good. "
            f"'asr-edge record --domain {domain}' records more, 'asr-edge label' labels what was kept"
        )
    if not any(domain in edit.domains for edit in ledger.edits):  # else some may have been learnt from already
        store.hold_out(domain, FEWEST_HELD_OUT)
        labelled = [store.get(u.number) for u in labelled]
    training = [u for u in labelled if u.split == "train"]
    held_out = [u for u in labelled if u.split == "test"]
    if not training or not held_out:
        which = "held out, to judge by" if not held_out else "to learn from"
        raise BadInputError(f"{domain} has no utterance {which}; record or import more")
    return training, held_out


def _hear_training(
    transcriber: Transcriber, training: Sequence[StoredUtterance], plan: Plan, screen: Screen
) -> list[str]:
    """What the version in service hears in the utterances to be learnt; all of them only if need be."""
    needed = len(training) if plan.orthography == "keep" else min(len(training), CHECKED)
    heard = []
    with screen.progress("hearing what is to be learnt", needed) as advance:
        for utterance in training[:needed]:
            heard.append(transcriber.transcribe(utterance.read(), SAMPLE_RATE).text)
            advance(1)
    if not any(heard):
        raise BadInputError(
            f"nothing is heard in the recordings of {plan.domain}: is there speech in them? "
            f"'asr-edge dataset show {plan.domain}' lists them"
        )
    return heard


def _check_labels(texts: Sequence[str], heard: Sequence[str], plan: Plan) -> None:
    """
    Raises:
        BadInputError: the labels fit their recordings no better than each other's.
    """
    chance = label_chance(texts[:CHECKED], heard[:CHECKED], plan.seed)
    if chance > CHANCE and not plan.force:
        raise BadInputError(
            f"the texts of {plan.domain} do not seem to belong to its recordings: shuffled, they fit what is heard as "
            f"well ({chance:.0%} of shuffles). Nothing was learnt. 'asr-edge label --domain {plan.domain}' goes over "
            "them; --force learns them all the same"
        )


def label_chance(texts: Sequence[str], heard: Sequence[str], seed: int = 0) -> float:
    """How often texts that are dealt to the recordings at random fit at least as well as they do: a permutation test.

    Letters and digits alone count, as a recogniser that does not know the speaker splits words in
    other places.
    """
    import jiwer

    pairs = [(english(t).replace(" ", ""), english(h).replace(" ", "")) for t, h in zip(texts, heard, strict=False)]
    pairs = [(said, thought) for said, thought in pairs if said]
    if len({said for said, _ in pairs}) < 2:
        return 0.0  # all are the same; there is nothing to mix up
    distance = np.array([[_distance(jiwer, said, thought) for said, _ in pairs] for _, thought in pairs])
    random = np.random.default_rng(seed)
    own = float(np.trace(distance))
    rows = np.arange(len(pairs))
    dealt = [float(distance[rows, random.permutation(len(pairs))].sum()) for _ in range(500)]
    return float(np.mean(np.array(dealt) <= own))


def _distance(jiwer: Any, said: str, heard: str) -> float:
    return float(jiwer.cer(said, heard)) if heard else 1.0


def _replayed(store: Store, ledger: Ledger, plan: Plan) -> list[Utterance]:
    """Older utterances of other domains that were learnt, chosen at random."""
    if not plan.replay:
        return []
    learnt = {domain for edit in ledger.edits for domain in edit.domains} - {plan.domain}
    known = learnt & {stats.domain for stats in store.stats()}
    older = [
        u for domain in sorted(known) for u in store.utterances(domain) if u.text is not None and u.split == "train"
    ]
    picks = np.random.default_rng(plan.seed).permutation(len(older))[: plan.replay]
    return [older[i] for i in sorted(picks)]
