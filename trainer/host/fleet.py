"""What several devices learnt, merged into one task vector: who is left out of it, and why.

One poisoned vector must not spoil it for all, nor one broken. So, in this order:

1. files that cannot be read, do not fit the base, or have entries that are not finite are left out;
2. so are vectors whose device says itself that it hears no better;
3. norms are clipped to `CLIP` times their median (as in Sun et al. 2019, arXiv 1911.07963); those
   beyond `HUGE` times it are left out;
4. a vector that points away from the mean of the others is left out: honest ones are nearly
   orthogonal or agree, a turned sign does not (cosine similarity, as in FLTrust, arXiv 2012.13995);
5. if the canary is harmed by the merge, each is left out in turn and the canary heard again: the one
   without which it is heard best goes, and so on until there is no harm.
"""

from __future__ import annotations

import json
import secrets
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
from device_app.models.bundles import find_base, temporarily_baked
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError, BundleError, TaskVectorError, one_line
from editing.files import sha256
from editing.method import Tensors
from editing.registry import METHODS
from editing.task_vector import Origin, TaskVector, apply, check_file, read_origin
from export.bundle import Bundle
from trainer.host.database import Contribution, Database, Device
from trainer.host.keys import Signer

CLIP = 1.5
HUGE = 5.0
OPPOSED = -0.1  # cosine
FEWEST = 3  # of two that disagree, nobody knows which is wrong
CAME = "the task vector"  # in errors; where it is on the host is nobody's business
WEIGHED = 0.6  # how devices add what they pull, by default: it is scored like that


@dataclass
class Judged:
    """A contribution, and what was found: why it was left out, or nothing.

    Attributes:
        norm, cosine: of the vector as it came; to the mean of the others.
        without: points by which the canary's WER changes where it is left out, if that was tried.
    """

    device: str
    vector: str
    norm: float = 0.0
    cosine: float = 0.0
    without: float | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Report:
    """What a merge of a fleet came to; WER are fractions."""

    group: str
    base: str
    method: str
    settings: Mapping[str, Any]
    judged: Sequence[Judged]
    canary_before: float = 0.0
    canary_after: float = 0.0
    vector: str = ""
    reasons: Sequence[str] = field(default_factory=list)


def file_of(folder: Path, vector: str) -> Path:
    """Where a host keeps a contributed or merged vector."""
    return folder / "fleet" / f"{vector}.safetensors"


def incoming(folder: Path, device: int) -> Path:
    """A new place for what a device is sending."""
    return folder / "fleet" / "incoming" / f"{device}-{secrets.token_hex(8)}"


def receive(database: Database, folder: Path, device: Device, group: str, vector: str, path: Path) -> None:
    """Takes a vector into a group.

    Raises:
        BadInputError: it has other bytes than its name says, is no task vector, or does not fit a base that is
            installed here.
    """
    if sha256(path) != vector:
        raise BadInputError("the bytes are not those that were announced")
    origin = read_origin(path, name=CAME)
    base = find_base(origin.base)
    if base is None:
        taken_from = one_line(origin.base[:8])
        raise TaskVectorError(f"{CAME}: taken from base {taken_from}, which is not installed on this host")
    try:
        shapes = base.shapes()
    except BundleError:
        raise TaskVectorError(f"{CAME}: its base {origin.base[:8]} is damaged on this host; tell its owner") from None
    check_file(path, origin.base, shapes, name=CAME)
    target = file_of(folder, vector)
    path.replace(target)
    for old in database.contribute(device.id, group, origin.base, vector, {"scores": dict(origin.scores)}):
        file_of(folder, old).unlink(missing_ok=True)


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
    """Merges what a group's devices gave, and offers the result to the group if the canary bears it.

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
    judged, vectors = _read(database.contributions(group, base.weights_hash), folder, base, theta)
    _clip(judged, vectors)
    _leave_out_opposed(judged, vectors)
    _enough(vectors, judged, group)
    guard = _GuardSetCheck(base, theta, guard_set(), MergeSettings(method, settings), context)
    after = _leave_out_harmful(judged, vectors, guard, tolerance)
    _enough(vectors, judged, group)
    change = compare(guard.before, after)
    found = Report(group, base.weights_hash, method, settings, judged, change.before, change.after)
    if change.is_harm(tolerance):
        return replace(found, reasons=["general speech (the canary) is heard worse; nothing is offered"])
    merged = TaskVector(
        METHODS[method]([vector.tensors for vector in vectors.values()], **settings),
        Origin(
            base.family,
            base.weights_hash,
            group,
            utterances=sum(vector.origin.utterances for vector in vectors.values()),
            seconds=sum(vector.origin.seconds for vector in vectors.values()),
            method=method,
            scores={"canary_before": change.before, "canary_after": change.after},
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
            "canary": [change.before, change.after],
            "vector": digest,
        }
    )
    database.offer(group, base.weights_hash, digest, statement, signature, json.dumps(asdict(found)))
    return found


def _read(
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
    """The one that points away most is left out first, as it turns the mean by which the others are judged."""
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


def _enough(vectors: Mapping[str, TaskVector], judged: Sequence[Judged], group: str) -> None:
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


class _GuardSetCheck:
    """Hypotheses for the guard set, with any of the vectors merged."""

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
        self.before = transcribe_sets(transcriber, self._sets, context.reporter, "hearing with the base")[GUARD_SET]

    def __call__(self, vectors: Mapping[str, TaskVector], label: str) -> Hypotheses:
        try:
            merge = METHODS[self._merge.method]
            merged = merge([vector.tensors for vector in vectors.values()], **self._merge.settings)
        except ValueError as error:
            raise BadInputError(f"these cannot be merged: {error}") from error
        scaled = {name: tensor * np.float32(WEIGHED) for name, tensor in merged.items()}
        with temporarily_baked(self._base, apply(self._theta, scaled, out=scaled)) as folder:
            transcriber = Transcriber(self._base, threads=self._context.threads, folder=folder)
            return transcribe_sets(transcriber, self._sets, self._context.reporter, label)[GUARD_SET]


def _leave_out_harmful(
    judged: Sequence[Judged], vectors: dict[str, TaskVector], transcribe_with: _GuardSetCheck, tolerance: float
) -> Hypotheses:
    """As long as the canary is harmed, leaves out the vector without which it is heard best."""
    together = transcribe_with(vectors, "hearing with all")
    while compare(transcribe_with.before, together).is_harm(tolerance) and len(vectors) > FEWEST:
        without = {}
        for name in vectors:
            rest = {other: vector for other, vector in vectors.items() if other != name}
            without[name] = transcribe_with(rest, f"hearing without {name}")
            _entry(judged, name).without = 100 * (without[name].wer - together.wer)
        best = min(without, key=lambda name: without[name].wer)
        gained = together.wer - without[best].wer
        if gained <= 0:
            break
        _entry(judged, best).left_out = f"without it the canary is heard {100 * gained:.1f} points better"
        del vectors[best]
        together = without[best]
    return together
