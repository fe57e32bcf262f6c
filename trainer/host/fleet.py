"""Merges the task vectors of a group's devices into one, leaves out harmful ones, and reports why.

A poisoned or broken vector must not spoil the merge. The steps, in this order:

1. Leave out files that cannot be read, do not fit the base, or have entries that are not finite.
2. Leave out vectors with which their own device measured no lower WER.
3. Clip norms to `CLIP_FACTOR` times the median (as in Sun et al. 2019, arXiv 1911.07963); leave out
   vectors above `OUTLIER` times the median.
4. Leave out vectors that point away from the mean of the others. Honest vectors are nearly orthogonal or
   agree; one with a flipped sign does not (cosine similarity, as in FLTrust, arXiv 2012.13995).
5. If the merge raises the WER of the guard set by more than the tolerance, score the merge without each
   vector in turn, and leave out the vector without which the WER is lowest. Repeat until the WER is
   within the tolerance.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_app.adaptation.gate import Hypotheses, compare, regressions
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.settings import MergeSettings
from device_app.adaptation.test_sets import scaled_sum, transcribe_sets, transcribe_sets_with
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.execution import ExecutionContext
from device_app.recognition.transcriber import Transcriber
from device_app.remote.fleet import PULL_LAMBDA
from device_app.remote.signatures import Signer
from editing.errors import BadInputError, TaskVectorError
from editing.files import sha256
from editing.method import Tensors
from editing.methods import METHODS
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle
from trainer.host.contributions import incoming_file, vector_file
from trainer.host.database import Contribution, Database

CLIP_FACTOR = 1.5
OUTLIER = 5.0
MIN_COSINE = -0.1  # cosine
MIN_VECTORS = 3  # if only two disagree, it is unknown which one is wrong


@dataclass
class AssessedContribution:
    """A contribution and its measurements.

    Attributes:
        device: the name of the contributing device.
        vector: the hash of its file.
        norm: the vector's norm before clipping.
        cosine: cosine similarity to the mean of the other vectors.
        without: the change of the guard set's WER in points if the vector is left out; None if not measured.
        left_out: why the vector is left out of the merge; empty if it is merged.
    """

    device: str
    vector: str
    norm: float = 0.0
    cosine: float = 0.0
    without: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Report:
    """The result of a merge, as stored and as printed by `--json`. WERs are fractions.

    Attributes:
        group: the group whose vectors are merged.
        base: SHA-256 of the base weights.
        method, settings: of the merge.
        judged: all contributions.
        general_speech_before, general_speech_after: WER of the guard set with the base, and with the merged vector.
        vector: the hash of the merged vector; empty if none is offered.
        reasons: why no vector is offered.
    """

    group: str
    base: str
    method: str
    settings: Mapping[str, Any]
    judged: Sequence[AssessedContribution]
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
        group: the group whose vectors are merged.
        base: the model from which the vectors were computed.
        merge: method and settings.
        tolerance: by how much the WER of the guard set may rise, as a fraction.
        context: threads and reporter.

    Raises:
        BadInputError: too few vectors remain, or the method cannot merge them.
    """
    method, settings = merge.method, {**merge.with_defaults(), "lam": 1.0}
    theta = base.weights()
    judged, vectors = _load_contributions(database.contributions(group, base.weights_hash), folder, base, theta)
    _clip(judged, vectors)
    _leave_out_opposed(judged, vectors)
    _require_min_vectors(vectors, judged, group)
    guard = _GuardSetScorer(base, theta, guard_set(), MergeSettings(method, settings), context)
    after = _leave_out_harmful(judged, vectors, guard, tolerance)
    _require_min_vectors(vectors, judged, group)
    change = compare(guard.before, after)
    found = Report(group, base.weights_hash, method, settings, judged, change.before, change.after)
    if regressions({GUARD_SET: change}, None, tolerance):
        return replace(found, reasons=["the WER on general speech rises; nothing is offered"])
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
    temporary = incoming_file(folder, 0)
    merged.save(temporary)
    digest = sha256(temporary)
    temporary.replace(vector_file(folder, digest))
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
) -> tuple[list[AssessedContribution], dict[str, TaskVector]]:
    judged, vectors = [], {}
    shapes = {name: tensor.shape for name, tensor in theta.items()}
    for one in contributions:
        judged.append(assessed := AssessedContribution(one.device, one.vector))
        scores = one.statement.get("scores", {})
        try:
            vector = TaskVector.load(vector_file(folder, one.vector), base=base.weights_hash, shapes=shapes, name="it")
            assessed.norm = vector.norm
            if not assessed.norm:
                raise TaskVectorError("it changes nothing")
        except TaskVectorError as error:
            assessed.left_out = str(error).removeprefix("it: ")
            continue
        if "before" in scores and "after" in scores and scores["after"] >= scores["before"]:
            assessed.left_out = "its own device measured no lower WER with it"
            continue
        vectors[one.device] = vector
    return judged, vectors


def _clip(judged: Sequence[AssessedContribution], vectors: dict[str, TaskVector]) -> None:
    if not vectors:
        return
    median = statistics.median(assessed.norm for assessed in judged if assessed.device in vectors)
    for assessed in judged:
        if assessed.device not in vectors:
            continue
        if assessed.norm > OUTLIER * median:
            assessed.left_out = f"its norm is {assessed.norm / median:.0f} times the median"
            del vectors[assessed.device]
        elif assessed.norm > CLIP_FACTOR * median:
            vectors[assessed.device] = vectors[assessed.device].scaled(CLIP_FACTOR * median / assessed.norm)


def _leave_out_opposed(judged: Sequence[AssessedContribution], vectors: dict[str, TaskVector]) -> None:
    """Leaves out vectors one by one, the most opposed first, because it changes the mean of the others."""
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
        if cosines[worst] >= MIN_COSINE:
            return
        name = names[left.pop(worst)]
        _entry(judged, name).left_out = f"it points away from the others (cosine {cosines[worst]:.2f})"
        del vectors[name]


def _entry(judged: Sequence[AssessedContribution], device: str) -> AssessedContribution:
    return next(one for one in judged if one.device == device)


def _require_min_vectors(vectors: Mapping[str, TaskVector], judged: Sequence[AssessedContribution], group: str) -> None:
    """
    Raises:
        BadInputError: fewer than `MIN_VECTORS` vectors remain.
    """
    if len(vectors) < MIN_VECTORS:
        reasons = "; ".join(f"{one.device}: {one.left_out}" for one in judged if one.left_out)
        raise BadInputError(
            f"{group}: has {len(vectors)} vectors that can be merged, but at least {MIN_VECTORS} are needed"
            + (f" ({reasons})" if reasons else "; devices contribute theirs with 'asr-edge contribute N --on URL'")
        )


class _GuardSetScorer:
    """Transcribes the guard set with a merge of given vectors.

    Attributes:
        before: the base model's hypotheses.
    """

    def __init__(
        self,
        base: Bundle,
        theta: Tensors,
        utterances: Sequence[Utterance],
        merge: MergeSettings,
        context: ExecutionContext,
    ) -> None:
        self._base, self._theta, self._sets = base, theta, {GUARD_SET: utterances}
        self._merge, self._context = merge, context
        transcriber = Transcriber(base, threads=context.threads)
        self.before = transcribe_sets(transcriber, self._sets, context.reporter, "general speech with the base")[
            GUARD_SET
        ]

    def __call__(self, vectors: Mapping[str, TaskVector], label: str) -> Hypotheses:
        try:
            merge = METHODS[self._merge.method]
            merged = merge([vector.tensors for vector in vectors.values()], **self._merge.settings)
        except ValueError as error:
            raise BadInputError(f"the vectors cannot be merged: {error}") from error
        weights = scaled_sum(self._theta, merged, PULL_LAMBDA)
        before = {GUARD_SET: self.before}
        return transcribe_sets_with(weights, self._base, self._sets, self._context, label, before)[GUARD_SET]


def _is_regression(before: Hypotheses, after: Hypotheses, tolerance: float) -> bool:
    return bool(regressions({GUARD_SET: compare(before, after)}, None, tolerance))


def _leave_out_harmful(
    judged: Sequence[AssessedContribution],
    vectors: dict[str, TaskVector],
    transcribe_with: _GuardSetScorer,
    tolerance: float,
) -> Hypotheses:
    """Leaves out vectors until the guard set's WER is within the tolerance; returns the last merge's hypotheses."""
    together = transcribe_with(vectors, "general speech with all vectors")
    while len(vectors) > MIN_VECTORS and _is_regression(transcribe_with.before, together, tolerance):
        without = {}
        for name in vectors:
            rest = {other: vector for other, vector in vectors.items() if other != name}
            without[name] = transcribe_with(rest, f"general speech without {name}")
            _entry(judged, name).without = 100 * (without[name].wer - together.wer)
        best = min(without, key=lambda name: without[name].wer)
        gained = together.wer - without[best].wer
        if gained <= 0:
            break
        _entry(judged, best).left_out = f"without it, the WER on general speech is {100 * gained:.1f} points lower"
        del vectors[best]
        together = without[best]
    return together
