"""What methods are compared with: fine-tuning alone, and two upper bounds, joint training and separate models."""

from __future__ import annotations

from editing.method import Tensors
from export.weights import write_weights
from trainer.lifelong.method import Step, lifelong_method


@lifelong_method("fine-tuning", paper="what all others are compared with")
def fine_tuning(step: Step) -> Tensors:
    """Continues with the fine-tuned weights; stores nothing."""
    return step.finetune(step.theta, step.training)


@lifelong_method("joint", paper="upper bound: all recordings at hand")
def joint(step: Step) -> Tensors:
    """Fine-tunes the base on all domains so far together; stores nothing but needs every recording."""
    return step.finetune(step.base, [*step.training, *(example for domain in step.earlier for example in domain)])


@lifelong_method("separate", paper="upper bound: a model for each domain, and knowing which to use", is_one_model=False)
def separate(step: Step) -> Tensors:
    """Fine-tunes the base on the domain alone; stores a whole model for each."""
    weights = step.finetune(step.base, step.training)
    write_weights(step.memory / f"{step.number}.safetensors", dict(weights))
    return weights
