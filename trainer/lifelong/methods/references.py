"""Reference methods: plain fine-tuning, and two upper bounds, joint training and separate models."""

from __future__ import annotations

from editing.method import Tensors
from export.weights import write_weights
from trainer.lifelong.method import Step, lifelong_method

REFERENCE = "fine-tuning"


@lifelong_method(REFERENCE, paper="reference for all other methods")
def fine_tuning(step: Step) -> Tensors:
    """Fine-tunes the previous weights; stores nothing."""
    return step.finetune(step.theta, step.training)


@lifelong_method("joint", paper="upper bound: has all recordings")
def joint(step: Step) -> Tensors:
    """Fine-tunes the base on all domains so far together; needs all recordings, stores nothing else."""
    return step.finetune(step.base, [*step.training, *(example for domain in step.earlier for example in domain)])


@lifelong_method("separate", paper="upper bound: a model per domain, the domain is known", is_one_model=False)
def separate(step: Step) -> Tensors:
    """Fine-tunes the base on the domain alone; stores a whole model per domain."""
    weights = step.finetune(step.base, step.training)
    write_weights(step.memory / f"{step.number}.safetensors", dict(weights))
    return weights
