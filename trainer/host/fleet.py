"""Merges the task vectors of a group's devices into one; leaves out those that would do harm, and says why.

One poisoned or broken vector must not spoil the merge for all. So, in this order:

1. Files that cannot be read, do not fit the base, or have entries that are not finite are left out.
2. So are vectors whose own device measured no lower WER with them.
3. Norms are clipped to `CLIP` times their median (as in Sun et al. 2019, arXiv 1911.07963); vectors
   beyond `HUGE` times it are left out.
4. A vector that points away from the mean of the others is left out: honest ones are nearly
   orthogonal or agree, one with a flipped sign does not (cosine similarity, as in FLTrust, arXiv 2012.13995).
5. If the merge raises the WER of the guard set beyond the tolerance, the merge is scored without each
   vector in turn. The vector without which the WER is lowest is left out, and so on until it is within the tolerance.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_app.adaptation.gate import Hypotheses, compare
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.settings import MergeSettings
from device_app.adaptation.test_sets import transcribe_sets
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.execution import ExecutionContext
from device_app.models.baking import temporarily_baked
from device_app.recognition.transcriber import Transcriber
from device_app.remote.signatures import Signer
from editing.errors import BadInputError, TaskVectorError
from editing.files import sha256
from editing.method import Tensors
from editing.registry import METHODS
from editing.task_vector import Origin, TaskVector, apply
from export.bundle import Bundle
from trainer.host.contributions import file_of, incoming
from trainer.host.database import Contribution, Database

CLIP = 1.5
HUGE = 5.0
OPPOSED = -0.1  # cosine
FEWEST = 3  # vectors; of two that disagree, nobody knows which is wrong
PULL_LAMBDA = (
    0.6  # the scaling coefficient with which devices add what they pull, by default; the merge is scored with it
)


@dataclass
class Judged:
    """A contribution and what was measured of it.

    Attributes:
        device: the name of the device that gave it.
        vector: the hash of its file.
        norm: of the vector as it came.
        cosine: similarity to the mean of the others.
        without: points by which the guard set's WER changes if the vector is left out; None where that was not tried.
        left_out: why it is left out of the merge; empty if it is merged.
    """

    device: str
    vector: str
    norm: float = 0.0
    cosine: float = 0.0
    without: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Report:
    """The result of a merge. Its fields are those of the stored report and of `--json`; WERs are fractions.

    Attributes:
        group: whose vectors.
        base: SHA-256 of the weights that they were taken from.
        method, settings: of the merge.
        judged: every contribution.
        general_speech_before, general_speech_after: WER of the guard set with the base, and with the merged vector.
        vector: the hash of the merged vector; empty if none is offered.
        reasons: why none is offered.
    """

    group: str
    base: str
    method: str
    settings: Mapping[str, Any]
    judged: Sequence[Judged]
    general_speech_before: float = 0.0
    general_speech_after: float = 0.0
    vector: str = ""
    reasons: Sequence[str] = field(default_factory=list)


def merge_fleet(
    database: Database,
    folder: Path,
    signer: Signer,
    group: str,
    base: Bundle,
    merge: MergeSettings,
    *,
    tolerance: float,
    context: ExecutionContext,
) -> Report:
    """Merges a group's contributions, and offers the result to the group unless it raises the guard set's WER.

    Args:
        database, folder, signer: the host's.
        group: whose vectors.
        base: the model that they were taken from.
        merge: method and settings.
        tolerance: by how much the WER of the guard set may rise, a fraction.
        context: threads and reporter.

    Raises:
        BadInputError: too few vectors are left, or the method cannot merge them.
    """
    method, settings = merge.method, {**merge.with_defaults(), "lam": 1.0}
    theta = base.weights()
    judged, vectors = _load_contributions(database.contributions(group, base.weights_hash), folder, base, theta)
    _clip(judged, vectors)
    _leave_out_opposed(judged, vectors)
    _require_fewest(vectors, judged, group)
    guard = _GuardSetScorer(base, theta, guard_set(), MergeSettings(method, settings), context)
    after = _leave_out_harmful(judged, vectors, guard, tolerance)
    _require_fewest(vectors, judged, group)
    change = compare(guard.before, after)
    found = Report(group, base.weights_hash, method, settings, judged, change.before, change.after)
    if change.is_regression(tolerance):
        return replace(found, reasons=["general speech is recognised worse; nothing is offered"])
    merged = TaskVector(
        METHODS[method]([vector.tensors for vector in vectors.values()], **settings),
        Origin(
            base.family,
            base.weights_hash,
            group,
            utterances=sum(vector.origin.utterances for vector in vectors.values()),
            seconds=sum(vector.origin.seconds for vector in vectors.values()),
            method=method,
            scores={"general_speech_before": change.before, "general_speech_after": change.after},
        ),
    )
    temporary = incoming(folder, 0)
    merged.save(temporary)
    digest = sha256(temporary)
    temporary.replace(file_of(folder, digest))
    found = replace(found, vector=digest)
    statement, signature = signer.sign(
        {
            "kind": "fleet",
            "group": group,
            "base": base.weights_hash,
            "method": method,
            "devices": len(vectors),
            "general_speech": [change.before, change.after],
            "vector": digest,
        }
    )
    database.offer(group, base.weights_hash, digest, statement, signature, json.dumps(asdict(found)))
    return found


def _load_contributions(
    contributions: Sequence[Contribution], folder: Path, base: Bundle, theta: Tensors
) -> tuple[list[Judged], dict[str, TaskVector]]:
    judged, vectors = [], {}
    shapes = {name: tensor.shape for name, tensor in theta.items()}
    for one in contributions:
        judged.append(entry := Judged(one.device, one.vector))
        scores = one.statement.get("scores", {})
        try:
            vector = TaskVector.load(file_of(folder, one.vector), base=base.weights_hash, shapes=shapes, name="it")
            entry.norm = vector.norm
            if not entry.norm:
                raise TaskVectorError("it changes nothing")
        except TaskVectorError as error:
            entry.left_out = str(error).removeprefix("it: ")
            continue
        if "before" in scores and "after" in scores and scores["after"] >= scores["before"]:
            entry.left_out = "its own device hears no better with it"
            continue
        vectors[one.device] = vector
    return judged, vectors


def _clip(judged: Sequence[Judged], vectors: dict[str, TaskVector]) -> None:
    if not vectors:
        return
    middle = statistics.median(entry.norm for entry in judged if entry.device in vectors)
    for entry in judged:
        if entry.device not in vectors:
            continue
        if entry.norm > HUGE * middle:
            entry.left_out = f"its norm is {entry.norm / middle:.0f} times the median"
            del vectors[entry.device]
        elif entry.norm > CLIP * middle:
            vectors[entry.device] = vectors[entry.device].scaled(CLIP * middle / entry.norm)


def _leave_out_opposed(judged: Sequence[Judged], vectors: dict[str, TaskVector]) -> None:
    """Leaves out the vector that points away most first, as it turns the mean to which the others are compared."""
    names = list(vectors)
    products = np.array([[vectors[one].dot(vectors[other]) for other in names] for one in names])
    left = list(range(len(names)))
    while len(left) >= 2:
        part = products[np.ix_(left, left)]
        own, rows = np.diagonal(part), part.sum(axis=1)
        others = np.maximum(part.sum() - 2 * rows + own, 0.0)  # |sum of the others| squared
        lengths = np.sqrt(own * others)
        cosines = np.divide(rows - own, lengths, out=np.zeros(len(left)), where=lengths > 0)
        for place, cosine in zip(left, cosines, strict=True):
            _entry(judged, names[place]).cosine = float(cosine)
        worst = int(np.argmin(cosines))
        if cosines[worst] >= OPPOSED:
            return
        name = names[left.pop(worst)]
        _entry(judged, name).left_out = f"it points away from the others (cosine {cosines[worst]:.2f})"
        del vectors[name]


def _entry(judged: Sequence[Judged], device: str) -> Judged:
    return next(one for one in judged if one.device == device)


def _require_fewest(vectors: Mapping[str, TaskVector], judged: Sequence[Judged], group: str) -> None:
    """
    Raises:
        BadInputError: there are fewer than three.
    """
    if len(vectors) < FEWEST:
        reasons = "; ".join(f"{one.device}: {one.left_out}" for one in judged if one.left_out)
        raise BadInputError(
            f"{group}: {len(vectors)} vectors that can be merged; {FEWEST} are the least"
            + (f" ({reasons})" if reasons else "; devices give theirs with 'asr-edge contribute N --on URL'")
        )


class _GuardSetScorer:
    """Transcribes the guard set with the model that any of the vectors, merged, would make.

    Attributes:
        before: the base model's hypotheses.
    """

    def __init__(
        self,
        base: Bundle,
        theta: Tensors,
        spoken: Sequence[Utterance],
        merge: MergeSettings,
        context: ExecutionContext,
    ) -> None:
        self._base, self._theta, self._sets = base, theta, {GUARD_SET: spoken}
        self._merge, self._context = merge, context
        transcriber = Transcriber(base, threads=context.threads)
        self.before = transcribe_sets(transcriber, self._sets, context.reporter, "transcribing with the base")[
            GUARD_SET
        ]

    def __call__(self, vectors: Mapping[str, TaskVector], label: str) -> Hypotheses:
        try:
            merge = METHODS[self._merge.method]
            merged = merge([vector.tensors for vector in vectors.values()], **self._merge.settings)
        except ValueError as error:
            raise BadInputError(f"these cannot be merged: {error}") from error
        scaled = {name: tensor * np.float32(PULL_LAMBDA) for name, tensor in merged.items()}
        with temporarily_baked(self._base, apply(self._theta, scaled, out=scaled)) as folder:
            transcriber = Transcriber(self._base, threads=self._context.threads, folder=folder)
            return transcribe_sets(transcriber, self._sets, self._context.reporter, label)[GUARD_SET]


def _leave_out_harmful(
    judged: Sequence[Judged], vectors: dict[str, TaskVector], transcribe_with: _GuardSetScorer, tolerance: float
) -> Hypotheses:
    """While general speech is harmed, leaves out the vector without which its WER is lowest."""
    together = transcribe_with(vectors, "with all vectors")
    while compare(transcribe_with.before, together).is_regression(tolerance) and len(vectors) > FEWEST:
        without = {}
        for name in vectors:
            rest = {other: vector for other, vector in vectors.items() if other != name}
            without[name] = transcribe_with(rest, f"without {name}")
            _entry(judged, name).without = 100 * (without[name].wer - together.wer)
        best = min(without, key=lambda name: without[name].wer)
        gained = together.wer - without[best].wer
        if gained <= 0:
            break
        _entry(judged, best).left_out = f"without it general speech is recognised {100 * gained:.1f} points better"
        del vectors[best]
        together = without[best]
    return together
