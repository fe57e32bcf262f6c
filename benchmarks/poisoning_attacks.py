"""Attacks on a fleet's merge, for poisoning.py: the vectors that colluding devices send.

An attacker knows the rules, the base, and the vectors of the honest devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from editing.layers import layer
from editing.sparsify import Array
from editing.task_vector import TaskVector
from trainer.host.fleet import robust
from trainer.host.fleet.merge import Candidates, leave_out_unusual
from trainer.host.fleet.report import AssessedContribution

DENSITY = 0.5  # of `asr-edge contribute`


@dataclass(frozen=True)
class Attacker:
    """What an attacking device has: its number, vectors of its own recordings, and the honest devices' vectors."""

    number: int
    own: TaskVector
    swapped: TaskVector
    stale: TaskVector
    others: Sequence[TaskVector]

    def noise(self, like: TaskVector) -> TaskVector:
        """Gaussian noise; each tensor has the norm that it has in `like`."""
        random = np.random.default_rng(self.number)

        def draw(_name: str, tensor: Array) -> Array:
            found = random.standard_normal(tensor.shape, np.float32)
            return found * np.float32(np.linalg.norm(tensor) / np.linalg.norm(found))

        return mapped(like, draw)

    def mean(self) -> TaskVector:
        return statistic(self.others, np.mean)

    def deviation(self) -> TaskVector:
        return statistic(self.others, np.std)


def mapped(vector: TaskVector, change: Callable[[str, Array], Array]) -> TaskVector:
    return replace(vector, tensors={name: change(name, tensor) for name, tensor in vector.tensors.items()})


def statistic(vectors: Sequence[TaskVector], of: Callable[..., Any]) -> TaskVector:
    """A statistic of each entry over the vectors."""
    return mapped(
        vectors[0], lambda name, _: of([one.tensors[name] for one in vectors], axis=0).astype(np.float32, copy=False)
    )


def largest(passes: Callable[[float], bool], most: float) -> float:
    """The largest number from 0 to `most` that passes, by bisection."""
    low, high = 0.0, most
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def layer_flipped(one: Attacker) -> TaskVector:
    norms = one.own.layers()
    longest = max(norms, key=norms.__getitem__)
    return mapped(one.own, lambda name, tensor: -tensor if layer(name) == longest else tensor)


def turned_copy(one: Attacker) -> TaskVector:
    """The vector of another device, turned by 60 degrees with noise, which is nearly orthogonal to it."""
    victim = one.others[one.number]
    return victim.scaled(np.cos(np.pi / 3)) + one.noise(victim).scaled(np.sin(np.pi / 3))


def hidden_embeddings(one: Attacker) -> TaskVector:
    """An honest vector with noise in the token embeddings, of 0.3 times its norm."""
    random = np.random.default_rng(one.number)

    def change(name: str, tensor: Array) -> Array:
        if "embed_tokens" not in name:
            return tensor
        noise = random.standard_normal(tensor.shape, np.float32)
        return noise * np.float32(0.3 * one.own.norm / np.linalg.norm(noise))

    return mapped(one.own, change)


def slow_drift(one: Attacker) -> TaskVector:
    """As much of the harm of swapped labels as the rules let through, as long as a merged vector can be."""
    harm = one.swapped + one.own.scaled(-1.0)
    harm = harm.scaled(one.own.norm / harm.norm)
    median = float(np.median([other.norm for other in one.others]))

    def drifted(factor: float) -> TaskVector:
        found = (one.own + harm.scaled(factor)).trimmed(DENSITY)
        return found.scaled(robust.CLIP_FACTOR * median / found.norm)

    def passes(factor: float) -> bool:
        vectors = {f"other-{number}": other for number, other in enumerate(one.others)} | {"own": drifted(factor)}
        found = Candidates([AssessedContribution(name, "") for name in vectors], vectors)
        leave_out_unusual(found, "", 1)
        return "own" in found.vectors

    return drifted(largest(passes, 20.0))


def farthest(one: Attacker) -> TaskVector:
    """Min-Max (Shejwalkar & Houmansadr, NDSS 2021): as far from each vector as two honest ones are apart."""
    mean, shift = one.mean(), one.deviation().scaled(-1.0)

    def distance(first: TaskVector, second: TaskVector) -> float:
        return (first + second.scaled(-1.0)).norm

    limit = max(distance(first, second) for first in one.others for second in one.others)
    factor = largest(
        lambda factor: all(distance(mean + shift.scaled(factor), other) <= limit for other in one.others), 20.0
    )
    return mean + shift.scaled(factor) + one.noise(one.own).scaled(0.2)  # with noise, so that two are no copies


def entries_flipped(one: Attacker) -> TaskVector:
    random = np.random.default_rng(one.number)
    return mapped(one.own, lambda _, tensor: np.where(random.random(tensor.shape) < 0.3, -tensor, tensor))


def single_tensor(one: Attacker) -> TaskVector:
    norms = {name: float(np.linalg.norm(tensor)) for name, tensor in one.own.tensors.items()}
    longest = max(norms, key=norms.__getitem__)
    factor = np.float32(one.own.norm / norms[longest])
    return mapped(one.own, lambda name, tensor: tensor * (factor if name == longest else np.float32(0)))


ATTACKS: Mapping[str, Callable[[Attacker], TaskVector]] = {
    "random direction, norms of tensors as usual": lambda one: one.noise(one.own),
    "the longest layer's sign flipped": layer_flipped,
    "labels exchanged (two and six)": lambda one: one.swapped,
    "slow drift to exchanged labels": slow_drift,
    "another device's vector turned by 60 degrees": turned_copy,
    "token embeddings hidden in an honest vector": hidden_embeddings,
    # A Little Is Enough (Baruch et al. 2019, arXiv 1902.06156)
    "mean less 0.3 deviations (a little is enough)": lambda one: one.mean() + one.deviation().scaled(-0.3),
    "as far as honest ones are apart (Min-Max)": farthest,
    "30 % of the entries flipped": entries_flipped,
    "fine-tuned from another base than claimed": lambda one: one.stale,
    "a single tensor": single_tensor,
}
