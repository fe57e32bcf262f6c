"""Merges the task vectors of a group's devices into one, leaves out harmful ones, and reports why.

A poisoned or broken vector must not make the merge worse. The steps, in this order:

1. Leave out files that cannot be read, do not fit the base, have entries that are not finite, or change nothing.
2. Leave out vectors with which their own device measured no lower WER.
3. Count near-copies once; leave out vectors whose tensors, norm or direction are unlike those of most devices; offer
   nothing if too many differ (`trainer.host.fleet.robust`). Clip long ones.
4. If the host has held-out speech of the group, leave out vectors that harm it by themselves.
5. If the merge raises the WER of the guard set or of that speech by more than the tolerance, score the merge without
   each vector in turn, and leave out the vector without which the WER is lowest. Repeat until it is within the
   tolerance, or offer nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.settings import MergeSettings
from device_app.data.names import GUARD_SET
from device_app.execution import ExecutionContext
from device_app.remote.signatures import Signer
from editing.errors import BadInputError, TaskVectorError, counted
from editing.files import sha256
from editing.method import Tensors
from editing.task_vector import Origin, TaskVector, training_size
from export.bundle import Bundle
from trainer.host.contributions import incoming_file, vector_file
from trainer.host.database import Contribution, Database
from trainer.host.fleet import robust
from trainer.host.fleet.report import AssessedContribution, Report
from trainer.host.fleet.score_set import speech
from trainer.host.fleet.scoring import GROUP_SPEECH, Scorer, harm, harmful_alone

MIN_DEVICES = 5  # enough to leave out one of them: n >= 2 f + 3 (Blanchard et al. 2017, arXiv 1703.02757)
MIN_LEFT = 3  # vectors that a merge must keep, unless the group is smaller by its owner's wish


@dataclass
class Candidates:
    """The contributions to a group, and those of their vectors that are still to be merged.

    Attributes:
        judged: all contributions, with their measurements and why they were left out.
        vectors: the vectors to merge, by device.
    """

    judged: Sequence[AssessedContribution]
    vectors: dict[str, TaskVector] = field(default_factory=dict)

    def of(self, device: str) -> AssessedContribution:
        """The contribution of a device."""
        return next(one for one in self.judged if one.device == device)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Leaves out the vectors of devices, with the reason for each."""
        for device, reason in reasons.items():
            self.of(device).left_out = reason
            del self.vectors[device]

    def require(self, minimum: int, group: str) -> None:
        """Checks that enough vectors remain.

        Raises:
            BadInputError: fewer than `minimum` vectors remain.
        """
        if len(self.vectors) >= minimum:
            return
        reasons = [f"{one.device}: {one.left_out}" for one in self.judged if one.left_out]
        reasons += [f"{one.device}: a copy of {one.copy_of}'s" for one in self.judged if one.copy_of]
        raise BadInputError(
            f"{group}: has {counted(len(self.vectors), 'vector')} to merge, but needs at least {minimum}"
            + (f" ({'; '.join(reasons)})" if reasons else "")
            + f"; devices contribute theirs with 'asr-edge contribute N --group {group} --on URL'"
        )


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
    min_devices: int = MIN_DEVICES,
) -> Report:
    """Merges a group's contributions, and offers the result to the group unless it does harm or they disagree.

    Args:
        database, folder, signer: the host's database, folder and signing key.
        group: the group whose vectors are merged.
        base: the model from which the vectors were computed.
        merge: method and settings.
        tolerance: by how much the WER of the guard set and of the group's speech may rise, as a fraction.
        context: threads and reporter.
        min_devices: number of devices with different vectors below which nothing is merged.

    Raises:
        BadInputError: too few vectors remain, the method cannot merge them, the group's held-out speech is damaged, or
            there is neither a guard set for the model's language nor speech of the group.
    """
    guard, group_speech = guard_set(base.language), speech(folder, group)
    if not guard and not group_speech:
        raise BadInputError(
            f"{group}: there is no guard set for the language {base.language!r}, so nothing would notice a harmful "
            f"vector; give the group held-out speech with 'asr-edge host fleet score add MANIFEST --group {group}'"
        )
    settings = {**merge.with_defaults(), "lam": 1.0}  # each device scales the merged vector when it adds it
    theta = base.weights()
    candidates = _load_contributions(database.contributions(group, base.weights_hash), folder, base, theta)
    report = Report(group, base.weights_hash, merge.method, settings, candidates.judged)
    if reason := leave_out_unusual(candidates, group, min_devices):
        return replace(report, reasons=[reason])
    minimum = min(MIN_LEFT, min_devices)
    candidates.require(minimum, group)
    candidates.vectors = robust.clipped(candidates.vectors)
    scorer = Scorer(base, theta, guard, group_speech, MergeSettings(merge.method, settings), context)
    if GROUP_SPEECH in scorer.sets:
        _leave_out_harmful_alone(candidates, scorer, tolerance)
        candidates.require(minimum, group)
    after = _leave_out_harmful(candidates, scorer, tolerance, minimum)
    report = _with_scores(report, scorer, after)
    if reasons := harm(scorer.before, after, tolerance):
        return replace(report, reasons=[f"{'; '.join(reasons)}; nothing is offered"])
    return _offer(database, folder, signer, base, candidates.vectors, scorer, report)


def _with_scores(report: Report, scorer: Scorer, after: Mapping[str, Hypotheses]) -> Report:
    def wer(hypotheses: Mapping[str, Hypotheses], name: str) -> float | None:
        return hypotheses[name].wer if name in hypotheses else None

    return replace(
        report,
        general_speech_before=wer(scorer.before, GUARD_SET),
        general_speech_after=wer(after, GUARD_SET),
        group_speech_before=wer(scorer.before, GROUP_SPEECH),
        group_speech_after=wer(after, GROUP_SPEECH),
    )


def _offer(
    database: Database,
    folder: Path,
    signer: Signer,
    base: Bundle,
    vectors: Mapping[str, TaskVector],
    scorer: Scorer,
    report: Report,
) -> Report:
    """Stores and signs the merged vector, and offers it to the group; returns the report with the vector's hash."""
    names = ("general_speech_before", "general_speech_after", "group_speech_before", "group_speech_after")
    scores = {name: wer for name in names if (wer := getattr(report, name)) is not None}
    utterances, seconds = training_size([vector.origin for vector in vectors.values()])
    origin = Origin(
        base.family,
        base.weights_hash,
        report.group,
        utterances=utterances,
        seconds=seconds,
        method=report.method,
        scores=scores,
    )
    temporary = incoming_file(folder, 0)
    TaskVector(scorer.merged(vectors), origin).save(temporary)
    digest = sha256(temporary)
    temporary.replace(vector_file(folder, digest))
    report = replace(report, vector=digest)
    statement, signature = signer.sign(
        {
            "kind": "fleet",
            "group": report.group,
            "base": base.weights_hash,
            "method": report.method,
            "devices": len(vectors),
            "general_speech": [report.general_speech_before, report.general_speech_after],
            "vector": digest,
        }
    )
    database.offer(report.group, base.weights_hash, digest, statement, signature, json.dumps(asdict(report)))
    return report


def _load_contributions(
    contributions: Sequence[Contribution], folder: Path, base: Bundle, theta: Tensors
) -> Candidates:
    candidates = Candidates([AssessedContribution(one.device, one.vector) for one in contributions])
    shapes = {name: tensor.shape for name, tensor in theta.items()}
    base_norm = robust.norm_of(theta)
    for one, assessed in zip(contributions, candidates.judged, strict=True):
        scores = one.statement.get("scores", {})
        try:
            vector = TaskVector.load(vector_file(folder, one.vector), base=base.weights_hash, shapes=shapes, name="it")
        except TaskVectorError as error:
            assessed.left_out = str(error).removeprefix("it: ")
            continue
        assessed.norm = vector.norm
        assessed.left_out = robust.too_small(vector, base_norm)
        if not assessed.left_out and "before" in scores and "after" in scores and scores["after"] >= scores["before"]:
            assessed.left_out = "its own device measured no lower WER with it"
        if not assessed.left_out:
            candidates.vectors[one.device] = vector
    return candidates


def leave_out_unusual(candidates: Candidates, group: str, min_devices: int) -> str:
    """Leaves out near-copies and vectors of unusual norm or direction; returns why nothing can be offered, or "".

    Raises:
        BadInputError: there are fewer than `min_devices` different vectors.
    """
    if candidates.vectors:
        names = list(candidates.vectors)
        for device, original in robust.copies(names, robust.cosines_of(candidates.vectors)).items():
            candidates.of(device).copy_of = original
            del candidates.vectors[device]
    candidates.require(min_devices, group)
    count = len(candidates.vectors)
    for rule in (robust.unusual_tensors, robust.unusual_norms):
        if candidates.vectors:
            candidates.leave_out(rule(candidates.vectors))
    if candidates.vectors:
        names, cosines = list(candidates.vectors), robust.cosines_of(candidates.vectors)
        for name, cosine in zip(names, robust.agreements(cosines), strict=True):
            candidates.of(name).cosine = float(cosine)
        candidates.leave_out(robust.opposed(names, cosines))
    return robust.disagreement(count, count - len(candidates.vectors))


def _leave_out_harmful_alone(candidates: Candidates, scorer: Scorer, tolerance: float) -> None:
    """Leaves out vectors that harm the group's held-out speech by themselves."""
    alone = {}
    for name, vector in candidates.vectors.items():
        alone[name] = scorer.with_one(vector, f"the group's speech with the vector of {name}")
        candidates.of(name).group_speech = alone[name].wer
    candidates.leave_out(harmful_alone(scorer.before[GROUP_SPEECH], alone, tolerance))


def _leave_out_harmful(
    candidates: Candidates, scorer: Scorer, tolerance: float, minimum: int
) -> Mapping[str, Hypotheses]:
    """Leaves out vectors one by one until the merge does no harm, or no exclusion helps.

    Args:
        candidates: the vectors; at least `minimum` of them stay.
        scorer: transcribes with merges.
        tolerance: by how much the WER may rise, as a fraction.
        minimum: number of vectors that a merge must keep.

    Returns:
        The hypotheses with the last merge, for each set.
    """
    together = scorer.with_merge(candidates.vectors, "all sets with all vectors")
    while len(candidates.vectors) > minimum and harm(scorer.before, together, tolerance):
        without = {}
        for name in candidates.vectors:
            rest = {other: vector for other, vector in candidates.vectors.items() if other != name}
            without[name] = scorer.with_merge(rest, f"all sets without {name}")
            candidates.of(name).without = 100 * (_wer(without[name]) - _wer(together))
        best = min(without, key=lambda name: _wer(without[name]))
        gained = _wer(together) - _wer(without[best])
        if gained <= 0:
            break
        candidates.leave_out({best: f"without it, the WER is {100 * gained:.1f} points lower"})
        together = without[best]
    return together


def _wer(hypotheses: Mapping[str, Hypotheses]) -> float:
    """The sum of the WERs of the guard set and of the group's speech, if there are both."""
    return sum(one.wer for one in hypotheses.values())
