"""Methods that keep recordings of earlier domains and train on them again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from editing.method import Tensors
from editing.ranges import Range
from trainer.lifelong.method import Step, lifelong_method
from trainer.training.data import TrainingUtterance


@lifelong_method("experience-replay", paper="arXiv 1811.11682")
def experience_replay(step: Step, *, share: Annotated[float, Range(0, 1, excludes_least=True)] = 0.2) -> Tensors:
    """Fine-tunes on the domain and on a share of each earlier domain's utterances, which it stores."""
    kept = [example for number, domain in enumerate(step.earlier) for example in _chosen(domain, share, step, number)]
    for example in kept:  # the copies are only measured as storage; training reads the originals
        target = step.memory / f"{example.file.parent.parent.name}-{example.file.name}"
        if not target.exists():
            shutil.copyfile(example.file, target)
    return step.finetune(step.theta, [*step.training, *kept])


def _chosen(examples: Sequence[TrainingUtterance], share: float, step: Step, number: int) -> list[TrainingUtterance]:
    """A random share of a domain's examples, the same at every step."""
    order = np.random.default_rng((step.seed, number)).permutation(len(examples))
    return [examples[i] for i in sorted(order[: max(1, round(share * len(examples)))])]
