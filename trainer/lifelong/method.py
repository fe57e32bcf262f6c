"""What a lifelong-learning method is: what it receives at each step, what it returns, and how it registers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from editing.method import Tensors
from export.bundle import Bundle
from trainer.training.data import TrainingUtterance
from trainer.training.model import Adapters, Penalty


class FineTune(Protocol):
    """A fine-tuning with the benchmark's settings, the same for all methods except for what is named here."""

    def __call__(
        self,
        weights: Tensors,
        training: Sequence[TrainingUtterance],
        *,
        penalty: Penalty | None = None,
        adapters: Adapters | None = None,
        **settings: Any,
    ) -> Tensors: ...


@dataclass(frozen=True)
class Step:
    """One step of a sequence of domains: a new domain arrives.

    Attributes:
        number: of the domain, from 1.
        domain: its name.
        bundle: the model's family and configuration.
        base: weights before the first domain.
        theta: weights before this one.
        training: the domain's utterances.
        earlier: those of the earlier domains, in order; first those of the base's own domain, if it
            is known. A deployed method has only what it keeps of them in `memory`, so a method that
            reads them must store what it reads.
        memory: a folder of the method's own that lasts from step to step. A step that was killed
            runs again, so what the method writes must not depend on whether it was there.
        finetune: runs a fine-tuning.
        learning_rate: of the fine-tuning, for methods that scale it.
        seed: of everything random.
    """

    number: int
    domain: str
    bundle: Bundle
    base: Tensors
    theta: Tensors
    training: Sequence[TrainingUtterance]
    earlier: Sequence[Sequence[TrainingUtterance]]
    memory: Path
    finetune: FineTune
    learning_rate: float
    seed: int = 0


@dataclass(frozen=True)
class Mixture:
    """Weights that differ from utterance to utterance: theta plus the vectors, each times its share.

    Attributes:
        theta: what the vectors are added to, and where the next domain starts from.
        vectors: the experts.
        route: from an utterance, (samples,) at 16 kHz, to the shares, (experts,), with a sum of 1.
    """

    theta: Tensors
    vectors: Sequence[Tensors]
    route: Callable[[Samples], NDArray[np.float64]]

    def weights(self, shares: Sequence[float]) -> dict[str, NDArray[np.float32]]:
        """The model for an utterance with these shares of the experts."""
        mixed = {name: tensor.copy() for name, tensor in self.theta.items()}
        for share, vector in zip(shares, self.vectors, strict=True):
            if share:
                for name, tensor in mixed.items():
                    tensor += np.float32(share) * vector[name]
        return mixed


StepResult = Tensors | Mixture


@dataclass(frozen=True)
class Method:
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
    function: Callable[..., StepResult]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_one_model: bool = True


registered: dict[str, Method] = {}  # `trainer.lifelong.methods.find_methods` fills it


def lifelong_method(name: str, *, paper: str, is_one_model: bool = True, **fixed: Any) -> Callable[[Any], Any]:
    """Registers a function of a step as a method; `fixed` are values for some of its keywords."""

    def register(function: Callable[..., StepResult]) -> Callable[..., StepResult]:
        keywords = list(inspect.signature(function).parameters.values())[1:]
        settings = {parameter.name: fixed.get(parameter.name, parameter.default) for parameter in keywords}
        registered[name] = Method(name, paper, function, settings, is_one_model)
        return function

    return register
