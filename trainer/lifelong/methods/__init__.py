"""What a model can do when a domain comes: one file a kind of learner, found by walking this package."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from editing.registry import Tensors
from export.bundle import Bundle
from trainer.training.data import Example
from trainer.training.loop import Adapters, Penalty


class Tune(Protocol):
    """A fine-tuning with the benchmark's settings, the same for all learners but for what is named here."""

    def __call__(
        self,
        weights: Tensors,
        training: Sequence[Example],
        *,
        penalty: Penalty | None = None,
        adapters: Adapters | None = None,
        **settings: Any,
    ) -> Tensors: ...


@dataclass(frozen=True)
class Step:
    """A domain has come.

    Attributes:
        number: of the domain, from 1.
        domain: its name.
        bundle: the model's family and configuration.
        base: weights before the first domain.
        theta: weights before this one.
        training: the domain's utterances.
        earlier: those of the domains before, in order; what the base was trained on first, if
            that is known. Only what a learner keeps of them in `memory` would be there in earnest,
            so those that read it must store it.
        memory: a folder of the learner's own that lasts from step to step. A step that was killed is
            done again, so what it writes must not depend on whether it was there.
        tune: does the fine-tuning.
        learning_rate: of the fine-tuning, for learners that scale it.
        seed: of whatever is random.
    """

    number: int
    domain: str
    bundle: Bundle
    base: Tensors
    theta: Tensors
    training: Sequence[Example]
    earlier: Sequence[Sequence[Example]]
    memory: Path
    tune: Tune
    learning_rate: float
    seed: int = 0


@dataclass(frozen=True)
class Mixture:
    """Weights that differ from utterance to utterance: theta plus the vectors, each times its weight.

    Attributes:
        theta: what the vectors are added to, and where the next domain starts from.
        vectors: the experts.
        weigh: from an utterance, (samples,) at 16 kHz, to (experts,) with a sum of 1.
    """

    theta: Tensors
    vectors: Sequence[Tensors]
    weigh: Callable[[Samples], NDArray[np.float64]]

    def weights(self, shares: Sequence[float]) -> dict[str, NDArray[np.float32]]:
        """The model for an utterance with these weights of the experts."""
        mixed = {name: tensor.copy() for name, tensor in self.theta.items()}
        for share, vector in zip(shares, self.vectors, strict=True):
            if share:
                for name, tensor in mixed.items():
                    tensor += np.float32(share) * vector[name]
        return mixed


Learnt = Tensors | Mixture


@dataclass(frozen=True)
class Learner:
    """A way to learn one domain after another.

    Attributes:
        name: in a benchmark's configuration.
        paper: where it was published.
        function: from a step to the weights after it, or to a mixture of them.
        settings: its keywords and their defaults.
        is_one_model: whether the weights after a step serve all domains; else only the step's own.
    """

    name: str
    paper: str
    function: Callable[..., Learnt]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_one_model: bool = True

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


_learners: dict[str, Learner] = {}


def learner(name: str, *, paper: str, is_one_model: bool = True, **fixed: Any) -> Callable[[Any], Any]:
    """Registers a function of a step as a learner; `fixed` are values for some of its keywords."""

    def register(function: Callable[..., Learnt]) -> Callable[..., Learnt]:
        keywords = list(inspect.signature(function).parameters.values())[1:]
        settings = {parameter.name: fixed.get(parameter.name, parameter.default) for parameter in keywords}
        _learners[name] = Learner(name, paper, function, settings, is_one_model)
        return function

    return register


@cache
def learners() -> Mapping[str, Learner]:
    """All learners by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_learners.items()))
