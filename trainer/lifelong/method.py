"""The interface of lifelong-learning methods: their input, their result, and how they register."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_type_hints

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from editing.method import Tensors
from editing.ranges import Range, range_of
from export.bundle import Bundle
from trainer.training.data import TrainingUtterance
from trainer.training.model import Adapters, Penalty


class FineTune(Protocol):
    """Fine-tunes with the benchmark's settings; a method may add a penalty or adapters, or change settings."""

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
    """One step of the sequence: a new domain.

    Attributes:
        number: the number of the domain, from 1.
        domain: the name of the domain.
        bundle: the model's family and configuration.
        base: the weights before the first step.
        theta: the weights before this step.
        training: the domain's training utterances.
        earlier: the training utterances of each earlier domain, in order; the first are those of the
            base's own domain, if known. On a device, a method would have only the contents of
            `memory`, so a method that reads these utterances must store them there.
        memory: the method's own folder, which persists between steps. A killed step runs again, so
            the files it writes must not depend on an earlier attempt.
        finetune: runs a fine-tuning.
        learning_rate: the learning rate of the fine-tuning, for methods that scale it.
        seed: for all random numbers.
        general: the distillation set, bundled general speech; empty for models of other languages than English.
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
    general: Sequence[TrainingUtterance] = ()


@dataclass(frozen=True)
class Mixture:
    """Weights that depend on the utterance: theta plus a weighted sum of task vectors.

    Attributes:
        theta: the weights to which the vectors are added; the next step starts from them.
        vectors: the experts, as task vectors.
        route: maps an utterance, (samples,) at 16 kHz, to the experts' shares, (experts,), which sum to 1.
    """

    theta: Tensors
    vectors: Sequence[Tensors]
    route: Callable[[Samples], NDArray[np.float64]]

    def weights(self, shares: Sequence[float]) -> dict[str, NDArray[np.float32]]:
        """The weights for an utterance: `theta` plus each vector times its share, with the shapes of `theta`."""
        mixed = {name: tensor.copy() for name, tensor in self.theta.items()}
        for share, vector in zip(shares, self.vectors, strict=True):
            if share:
                for name, tensor in mixed.items():
                    tensor += np.float32(share) * vector[name]
        return mixed


StepResult = Tensors | Mixture


@dataclass(frozen=True)
class Method:
    """A lifelong-learning method.

    Attributes:
        name: its name in a configuration.
        paper: its publication.
        function: maps a step to the weights after it, or to a mixture.
        settings: its keyword parameters and their defaults.
        limits: the range of each parameter that is annotated with one.
        is_one_model: whether the weights after a step are used for all domains; otherwise only for the step's own.
    """

    name: str
    paper: str
    function: Callable[..., StepResult]
    settings: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Range] = field(default_factory=dict)
    is_one_model: bool = True


registered: dict[str, Method] = {}  # `trainer.lifelong.methods.find_methods` fills it


def lifelong_method(name: str, *, paper: str, is_one_model: bool = True, **fixed: Any) -> Callable[[Any], Any]:
    """Decorator that registers a function of a step as a method; `fixed` replaces defaults of its keywords."""

    def register(function: Callable[..., StepResult]) -> Callable[..., StepResult]:
        keywords = list(inspect.signature(function).parameters.values())[1:]
        settings = {parameter.name: fixed.get(parameter.name, parameter.default) for parameter in keywords}
        hints = get_type_hints(function, include_extras=True)
        limits = {name: limit for name in settings if (limit := range_of(hints[name])) is not None}
        registered[name] = Method(name, paper, function, settings, limits, is_one_model)
        return function

    return register
