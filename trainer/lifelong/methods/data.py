"""Learners that keep recordings, or models: the upper bounds, and rehearsal."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np

from editing.registry import Tensors
from export.weights import write_weights
from trainer.lifelong.methods import Step, learner
from trainer.training.data import Example


@learner("experience-replay", paper="arXiv 1811.11682")
def experience_replay(step: Step, *, share: float = 0.2) -> Tensors:
    """Fine-tunes on the domain and on a share of every earlier domain's utterances, which it stores."""
    kept = [example for number, domain in enumerate(step.earlier) for example in _some(domain, share, step, number)]
    for example in kept:
        target = step.memory / f"{example.audio.parent.parent.name}-{example.audio.name}"
        if not target.exists():
            shutil.copyfile(example.audio, target)
    return step.tune(step.theta, [*step.training, *kept])


@learner("joint", paper="upper bound: all recordings at hand")
def joint(step: Step) -> Tensors:
    """Fine-tunes the base on all domains so far together; stores nothing but needs every recording."""
    return step.tune(step.base, [*step.training, *(example for domain in step.earlier for example in domain)])


@learner("separate", paper="upper bound: a model for each domain, and knowing which to use", is_one_model=False)
def separate(step: Step) -> Tensors:
    """Fine-tunes the base on the domain alone; stores a whole model for each."""
    weights = step.tune(step.base, step.training)
    write_weights(step.memory / f"{step.number}.safetensors", dict(weights))
    return weights


def _some(examples: Sequence[Example], share: float, step: Step, number: int) -> list[Example]:
    """The same ones at every step."""
    order = np.random.default_rng((step.seed, number)).permutation(len(examples))
    return [examples[i] for i in sorted(order[: max(1, round(share * len(examples)))])]
