"""Lambda and density by WER: one task vector merged in many ways, because merging needs no new fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.adaptation.gate import Change, Hypotheses, compare
from device_app.adaptation.settings import AdaptationSettings, MergeSettings
from device_app.adaptation.test_sets import TestSets, transcribe_sets
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from device_app.execution import ExecutionContext
from device_app.models.baking import temporarily_baked
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import SilentReporter
from editing.registry import METHODS
from editing.task_vector import TaskVector, apply
from export.bundle import Bundle

LAMBDAS = (0.2, 0.4, 0.6, 0.8, 1.0)
DENSITIES = (0.2, 0.5, 1.0)
SWEEP_S = 400.0  # of each domain are transcribed with every candidate: of 2 minutes, 3 words are a point
ENOUGH = 3 / 4  # of the best candidate's gain on the new domain


@dataclass(frozen=True)
class Candidate:
    """One lambda and density of a sweep, with its hypotheses and how the WER changes, by domain."""

    lam: float
    density: float
    hypotheses: Mapping[str, Hypotheses]
    changes: Mapping[str, Change]


def sweep(
    start: Bundle, vector: TaskVector, merge: MergeSettings, test_sets: TestSets, context: ExecutionContext
) -> list[Candidate]:
    """Merges one vector with every lambda and density; each int8 file transcribes a part of each test set."""
    method = METHODS[merge.method]
    densities: Sequence[float] = DENSITIES if "density" in method.settings else (1.0,)
    parts = {domain: _part(utterances, SWEEP_S) for domain, utterances in test_sets.sets.items()}
    old = {
        domain: Hypotheses(h.references[: len(parts[domain])], h.hypotheses[: len(parts[domain])])
        for domain, h in test_sets.before.items()
    }
    theta = start.weights()
    candidates = []
    silent = SilentReporter()
    with context.reporter.progress("weighing", len(LAMBDAS) * len(densities)) as advance:
        for density in densities:
            settings = {**merge.settings, "lam": 1.0, **({"density": density} if "density" in method.settings else {})}
            whole = method([vector.tensors], **settings)
            for lam in LAMBDAS:
                scaled = {name: tensor * np.float32(lam) for name, tensor in whole.items()}
                weights = apply(theta, scaled, out=scaled)
                with temporarily_baked(start, weights) as folder:
                    transcriber = Transcriber(start, threads=context.threads, folder=folder)
                    new = transcribe_sets(transcriber, parts, silent, "")
                changes = {domain: compare(old[domain], new[domain]) for domain in parts}
                candidates.append(Candidate(lam, density, new, changes))
                advance(1)
    return candidates


def _part(utterances: Sequence[Utterance], seconds: float) -> Sequence[Utterance]:
    """The first utterances, until there are so many seconds."""
    total = 0.0
    for count, one in enumerate(utterances, 1):
        total += len(one.read()) / SAMPLE_RATE
        if total >= seconds:
            return utterances[:count]
    return utterances


def choose(candidates: Sequence[Candidate], settings: AdaptationSettings) -> Candidate:
    """The smallest step that harms nothing and brings most of what can be gained.

    Candidates that the gate would reject for what they do to another set are passed over, unless it
    would reject all. Of the rest, the one with the smallest step wins that brings three quarters of
    the best one's gain on the new domain: the last quarter costs the most elsewhere, where no
    held-out utterance may show it.

    A gain is the mean of a candidate's and its neighbours', because a gain changes by a point or two with
    any change of weights: by its own gain, the luckiest would be chosen, and the next adaptation
    would seem to harm this domain.
    """
    ordered = sorted(candidates, key=_strength)
    measured = [-candidate.changes[settings.domain].difference for candidate in ordered]
    gains = [float(np.mean(measured[max(0, place - 1) : place + 2])) for place in range(len(ordered))]
    others = [
        [change for domain, change in candidate.changes.items() if domain != settings.domain] for candidate in ordered
    ]
    harmless = [
        place
        for place, changes in enumerate(others)
        if not any(change.is_harm(settings.gate.tolerance) for change in changes)
    ]
    if not harmless:
        harms = [max(change.difference for change in changes) for changes in others]
        harmless = [int(np.argmin(harms))]
    enough = ENOUGH * max(gains[place] for place in harmless)
    good = [place for place in harmless if gains[place] >= enough]  # where nothing is gained, perhaps none
    return ordered[min(good or harmless)]


def _strength(candidate: Candidate) -> float:
    """About how long a step from the old weights it is, in fine-tunings."""
    return candidate.lam * math.sqrt(candidate.density)
