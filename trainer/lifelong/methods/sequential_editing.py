"""Sequential editing: fine-tune, compute the task vector, merge a part of it."""

from __future__ import annotations

from typing import Annotated, Any

from editing.files import write_atomically
from editing.interference import SHARE, without_interference
from editing.method import Tensors
from editing.methods import METHODS
from editing.ranges import Range
from editing.task_vector import Origin, TaskVector, apply
from trainer.lifelong.method import Step, lifelong_method

SEQUENTIAL_EDITING = "arXiv 2406.17935"
ADAPT: dict[str, Any] = {"method": "ties", "lam": 0.6, "density": 0.5, "scope": "encoder", "kept_signs": SHARE}


@lifelong_method("task-arithmetic", paper=SEQUENTIAL_EDITING, method="task_arithmetic", lam=0.4)
@lifelong_method("ties", paper=SEQUENTIAL_EDITING, method="ties", lam=0.6, density=0.5)
@lifelong_method("adapt", paper=f"{SEQUENTIAL_EDITING}, as `asr-edge adapt` does it", **ADAPT)
@lifelong_method("dare", paper="arXiv 2311.03099", method="dare_linear", lam=0.4, density=0.5)
@lifelong_method("dare-ties", paper="arXiv 2311.03099", method="dare_ties", lam=0.4, density=0.5)
@lifelong_method("weight-average", paper="arXiv 2109.01903, at one half", method="task_arithmetic", lam=0.5)
def merge(
    step: Step,
    *,
    method: str = "ties",
    lam: float = 0.6,
    density: float | None = None,
    scope: str = "all",
    kept_signs: Annotated[float, Range(0, 1)] = 0.0,
) -> Tensors:
    """Merges the task vector into the previous weights; stores the merged part, so that the edit can be reverted.

    `scope` is that of the fine-tuning, a key of `trainer.families.SCOPES`. `kept_signs` is the share of
    `editing.interference.without_interference`; 0 merges the vector as it is.
    """
    settings: dict[str, float] = {"lam": lam}
    if density is not None and "density" in METHODS[method].settings:
        settings["density"] = density
    if "seed" in METHODS[method].settings:
        settings["seed"] = step.seed
    return _merged(step, method, settings, scope, kept_signs)


@lifelong_method("1/t-average", paper="arXiv 2403.02951")
def running_average(step: Step) -> Tensors:
    """Averages the base and the weights after every fine-tuning so far; stores the edit."""
    return _merged(step, "task_arithmetic", {"lam": 1 / (step.number + 1)})


def _merged(
    step: Step, method: str, settings: dict[str, float], scope: str = "all", kept_signs: float = 0.0
) -> Tensors:
    tuned = step.finetune(step.theta, step.training, scope=scope)
    origin = Origin(
        family=step.bundle.family,
        base=step.bundle.weights_hash,
        domain=step.domain,
        utterances=len(step.training),
        seconds=round(sum(example.duration_s for example in step.training), 1),
    )
    vector = TaskVector.difference(tuned, step.theta, origin)
    tensors = vector.tensors
    if kept_signs and step.number > 1:
        earlier = {name: step.theta[name] - step.base[name] for name in step.base}
        tensors = without_interference(tensors, earlier, kept_signs)
    merged = METHODS[method]([tensors], **settings)
    write_atomically(step.memory / f"{step.number}.safetensors", TaskVector(merged, origin).to_bytes())
    return apply(step.theta, merged, out=merged)
