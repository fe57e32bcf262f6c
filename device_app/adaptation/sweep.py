"""Chooses lambda and density by WER: merges one task vector with each pair, without fine-tuning again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from device_app.adaptation.gate import Change, Hypotheses, compare, regressions
from device_app.adaptation.settings import AdaptationSettings, MergeSettings
from device_app.adaptation.test_sets import TestSets, scaled_sum, transcribe_sets_with
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.execution import ExecutionContext
from editing.errors import BadInputError
from editing.method import Method
from editing.methods import METHODS
from editing.task_vector import TaskVector
from export.bundle import Bundle

LAMBDAS = (0.2, 0.4, 0.6, 0.8, 1.0)
DENSITIES = (0.2, 0.5, 1.0)
SWEEP_S = 400.0  # seconds of audio per domain and candidate; of 2 minutes, 3 words are already a point of WER
GUARD_SET_S = 150.0  # the same for the guard set: the divergence needs less audio than WER
MIN_GAIN_SHARE = 3 / 4  # of the best candidate's gain on the new domain


@dataclass(frozen=True)
class Candidate:
    """One lambda and density of a sweep, with hypotheses and WER changes by domain.

    `density` is 1 for a method without densities.
    """

    lam: float
    density: float
    hypotheses: Mapping[str, Hypotheses]
    changes: Mapping[str, Change]


def sweep(
    start: Bundle, vector: TaskVector, merge: MergeSettings, test_sets: TestSets, context: ExecutionContext
) -> list[Candidate]:
    """Merges a vector with every lambda and density, and transcribes a part of each test set with each result.

    Args:
        start: the active version, to whose weights the merged vector is added.
        vector: the task vector.
        merge: the method, and its other settings.
        test_sets: the test sets, with the hypotheses of the active version.
        context: threads and reporter.

    Returns:
        The candidates, by density and then lambda.
    """
    method = METHODS[merge.method]
    densities = _densities(method, merge.settings)
    parts = {
        domain: _first_seconds(utterances, GUARD_SET_S if domain == GUARD_SET else SWEEP_S)
        for domain, utterances in test_sets.sets.items()
    }
    old = {domain: before.first(len(parts[domain])) for domain, before in test_sets.before.items()}
    theta = start.weights()
    candidates = []
    silent = ExecutionContext(threads=context.threads)  # without the progress of each candidate
    with context.reporter.progress("sweep", len(LAMBDAS) * len(densities)) as advance:
        for density in densities:
            settings = {**merge.settings, "lam": 1.0, **({"density": density} if "density" in method.settings else {})}
            merged = method([vector.tensors], **settings)
            for lam in LAMBDAS:
                new = transcribe_sets_with(scaled_sum(theta, merged, lam), start, parts, silent, "", old)
                changes = {domain: compare(old[domain], new[domain]) for domain in parts}
                candidates.append(Candidate(lam, density, new, changes))
                advance(1)
    return candidates


def _densities(method: Method, settings: Mapping[str, Any]) -> Sequence[float]:
    """The densities to try: the one that the user chose, or those that the other settings of the method allow."""
    if "density" not in method.settings:
        return (1.0,)
    if "density" in settings:
        return (settings["density"],)
    allowed = []
    for density in DENSITIES:
        with suppress(BadInputError):
            method.check({**settings, "density": density}, vectors=1)
            allowed.append(density)
    return allowed


def _first_seconds(utterances: Sequence[Utterance], seconds: float) -> Sequence[Utterance]:
    """The first utterances with a total duration of at least this many seconds."""
    total = 0.0
    for count, one in enumerate(utterances, 1):
        total += len(one.read()) / SAMPLE_RATE
        if total >= seconds:
            return utterances[:count]
    return utterances


def choose(candidates: Sequence[Candidate], settings: AdaptationSettings) -> Candidate:
    """Chooses the smallest step (see `_step_size`) without a regression that has most of the possible gain.

    Excludes candidates that the gate would reject for a regression on another set. If it would reject all, chooses the
    one whose largest rise in WER is the smallest. Of the others, chooses the smallest step with three quarters of the
    best gain on the new domain: the last quarter costs most on other speech, where possibly no held-out utterance
    shows it.

    The gain of a candidate is averaged with those of its neighbours, because a gain varies by a point
    or two with any change of weights. Otherwise the candidate with the luckiest result would be chosen, and the
    next adaptation would appear to harm this domain.
    """
    ordered = sorted(candidates, key=_step_size)
    measured = [-candidate.changes[settings.domain].difference for candidate in ordered]
    gains = [float(np.mean(measured[max(0, index - 1) : index + 2])) for index in range(len(ordered))]
    harmless = [
        index
        for index, candidate in enumerate(ordered)
        if not regressions(candidate.changes, {settings.domain}, settings.gate.tolerance)
    ]
    if not harmless:
        harms = [_largest_rise(candidate, settings.domain) for candidate in ordered]
        harmless = [int(np.argmin(harms))]
    required = MIN_GAIN_SHARE * max(gains[index] for index in harmless)
    good = [index for index in harmless if gains[index] >= required]  # may be empty if no candidate has a gain
    return ordered[min(good or harmless)]


def _largest_rise(candidate: Candidate, new_domain: str) -> float:
    return max(change.difference for domain, change in candidate.changes.items() if domain != new_domain)


def _step_size(candidate: Candidate) -> float:
    """The approximate norm of the step, as a fraction of the norm of the task vector."""
    return candidate.lam * math.sqrt(candidate.density)
