"""Lambda and density by what is heard: one task vector merged in many ways, as merging needs no retraining."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.adaptation.gate import Change, Heard, compare
from device_app.adaptation.settings import Plan
from device_app.adaptation.test_sets import Exam, hear
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.utterance import Utterance
from device_app.models.bundles import temporarily_baked
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import Screen, Silent
from editing.registry import METHODS
from editing.task_vector import TaskVector, apply
from export.bundle import Bundle

LAMBDAS = (0.2, 0.4, 0.6, 0.8, 1.0)
DENSITIES = (0.2, 0.5, 1.0)
SWEEP_S = 400.0  # of each domain are heard with every candidate of a sweep: in 2 minutes, 3 words are a point
ENOUGH = 3 / 4  # of the best candidate's gain on the new domain


@dataclass(frozen=True)
class Candidate:
    """One lambda and density of a sweep, what is heard with it, and how that is a change, by domain."""

    lam: float
    density: float
    heard: Mapping[str, Heard]
    changes: Mapping[str, Change]


def sweep(
    start: Bundle, vector: TaskVector, plan: Plan, exam: Exam, threads: int | None, screen: Screen
) -> list[Candidate]:
    """Merges one vector with every lambda and density, and hears a part of each set with the int8 file of each."""
    method = METHODS[plan.method]
    densities: Sequence[float] = DENSITIES if "density" in method.settings else (1.0,)
    heard_by = {domain: _part(spoken, SWEEP_S) for domain, spoken in exam.sets.items()}
    old = {
        domain: Heard(h.texts[: len(heard_by[domain])], h.hypotheses[: len(heard_by[domain])])
        for domain, h in exam.before.items()
    }
    theta = start.weights()
    candidates = []
    quiet = Silent()
    with screen.progress("weighing", len(LAMBDAS) * len(densities)) as advance:
        for density in densities:
            settings = {**plan.settings, "lam": 1.0, **({"density": density} if "density" in method.settings else {})}
            whole = method([vector.tensors], **settings)
            for lam in LAMBDAS:
                scaled = {name: tensor * np.float32(lam) for name, tensor in whole.items()}
                weights = apply(theta, scaled, out=scaled)
                with temporarily_baked(start, weights) as folder:
                    new = hear(Transcriber(start, threads=threads, folder=folder), heard_by, quiet, "")
                changes = {domain: compare(old[domain], new[domain]) for domain in heard_by}
                candidates.append(Candidate(lam, density, new, changes))
                advance(1)
    return candidates


def _part(spoken: Sequence[Utterance], seconds: float) -> Sequence[Utterance]:
    """The first utterances, until there are so many seconds."""
    total = 0.0
    for count, one in enumerate(spoken, 1):
        total += len(one.read()) / SAMPLE_RATE
        if total >= seconds:
            return spoken[:count]
    return spoken


def choose(candidates: Sequence[Candidate], plan: Plan) -> Candidate:
    """The gentlest candidate that harms nothing and brings most of what can be gained.

    Those that the gate would refuse for what they do to something else are passed over, unless it
    would refuse all. Of the rest, the one with the least of the vector wins that brings three quarters of
    the best one's gain on the new domain: the last quarter costs the most elsewhere, where no
    held-out utterance may show it.

    A gain is the mean of a candidate's and its neighbours', as they change by a point or two with
    any change of weights: by its own, the luckiest would be chosen, and whatever is learnt next
    would seem to harm this domain.
    """
    ordered = sorted(candidates, key=_strength)
    measured = [-candidate.changes[plan.domain].difference for candidate in ordered]
    gains = [float(np.mean(measured[max(0, place - 1) : place + 2])) for place in range(len(ordered))]
    others = [
        [change for domain, change in candidate.changes.items() if domain != plan.domain] for candidate in ordered
    ]
    harmless = [
        place for place, changes in enumerate(others) if not any(change.is_harm(plan.tolerance) for change in changes)
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
