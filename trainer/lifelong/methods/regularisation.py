"""Methods that penalise changes of important weights, or outputs that differ from the previous model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch

from editing.method import Tensors
from editing.ranges import Range
from export.weights import read_weights, write_weights
from trainer import families
from trainer.lifelong.method import Step, lifelong_method
from trainer.training.data import TrainingUtterance, padded

MAX_EXAMPLES = 100  # of a domain, to estimate the importance of weights

Strength = Annotated[float, Range(0, 1e9)]  # of the penalty in the loss


@lifelong_method("ewc", paper="arXiv 1612.00796")
def ewc(step: Step, *, strength: Strength = 1000.0) -> Tensors:
    """Elastic weight consolidation: penalises changes of weights that earlier domains need.

    Stores the importance of each weight: the diagonal of the empirical Fisher information, summed over
    domains (online EWC, arXiv 1805.06370). The penalty is centred on the weights before the step.
    """
    if step.earlier:
        write_weights(step.memory / f"{step.number}.safetensors", fisher(step, step.theta, step.earlier[-1]))
    importance = _total_importance(step)
    centre = {name: torch.from_numpy(np.array(step.theta[name])) for name in importance}
    factor = {name: torch.from_numpy(np.array(values)) for name, values in importance.items()}

    def penalty(model: torch.nn.Module, *_batch: object) -> torch.Tensor:
        weighted = {n: p for n, p in model.named_parameters() if p.requires_grad and n in factor}
        terms = [(factor[n].to(p.device) * (p - centre[n].to(p.device)).square()).sum() for n, p in weighted.items()]
        return strength / 2 * torch.stack(terms).sum()

    return step.finetune(step.theta, step.training, penalty=penalty if importance else None)


def _total_importance(step: Step) -> dict[str, np.ndarray]:
    """The importance of each weight, summed over the stored domains."""
    total: dict[str, np.ndarray] = {}
    for number in range(1, step.number + 1):
        path = step.memory / f"{number}.safetensors"
        for name, values in (read_weights(path) if path.is_file() else {}).items():
            total[name] = total.get(name, 0) + values
    return total


def fisher(step: Step, weights: Tensors, examples: Sequence[TrainingUtterance]) -> dict[str, np.ndarray]:
    """The empirical Fisher information: the mean square of the gradient of an utterance's loss per token, by parameter.

    Args:
        step: has the model's family and the seed by which utterances are chosen.
        weights: those of the model.
        examples: utterances of one domain, of which at most `MAX_EXAMPLES` are used.
    """
    family = families.find(step.bundle)
    model = family.build(step.bundle.config, attention="sdpa")
    families.load_weights(model, weights)
    family.prepare(model)
    order = np.random.default_rng(step.seed).permutation(len(examples))[:MAX_EXAMPLES]
    sums = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for index in order:
        audio, lengths = padded([examples[index]])
        total, tokens = family.loss(model, torch.from_numpy(audio), torch.tensor(lengths), [examples[index].tokens])
        model.zero_grad()
        (total / tokens).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                sums[name] += parameter.grad.square()
    return {name: (values / len(order)).numpy() for name, values in sums.items()}


@lifelong_method("lwf", paper="arXiv 1606.09282")
def lwf(step: Step, *, strength: Strength = 1.0) -> Tensors:
    """Learning without forgetting: distils the previous model on the new recordings; stores nothing."""
    family = families.find(step.bundle)
    teacher = family.build(step.bundle.config, attention="sdpa")
    families.load_weights(teacher, step.theta)
    family.prepare(teacher)

    def penalty(
        model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        with torch.no_grad():
            old = family.log_probabilities(teacher.to(audio.device), audio, lengths, targets)
        new = family.log_probabilities(model, audio, lengths, targets)
        return strength * torch.nn.functional.kl_div(new, old, reduction="batchmean", log_target=True)

    return step.finetune(step.theta, step.training, penalty=penalty)
