"""Soft merging of experts, an open question of arXiv 2406.17935, with task vectors as the experts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from device_app.audio.samples import SAMPLE_RATE, Samples
from editing.errors import BundleError
from editing.method import Tensors
from editing.ranges import Range
from export.weights import read_weights, write_weights
from trainer import families
from trainer.lifelong.method import Mixture, Step, lifelong_method
from trainer.training.data import TrainingUtterance

MAX_SAMPLES = 20 * SAMPLE_RATE  # of an utterance, enough to recognise its domain


@lifelong_method("smear", paper="arXiv 2306.03745, with task vectors as experts")
def smear(step: Step, *, temperature: Annotated[float, Range(0, 1000, excludes_least=True)] = 0.1) -> Mixture:
    """Fine-tunes the base on the domain alone; mixes the task vectors for each utterance.

    The router has no parameters: it compares an utterance's mean encoder output under the base with the
    mean of each domain, by cosine similarity, and applies a softmax at `temperature`. Stores the task
    vectors and the means, but no recordings. The base is an expert too, with a task vector of zeros and the
    mean of its own domain; if that is unknown, of the bundled general speech.
    """
    encode = _UtteranceEncoder(step)
    tuned = step.finetune(step.base, step.training)
    vector = {name: tuned[name] - step.base[name] for name in step.base}
    write_weights(step.memory / f"{step.number}.safetensors", vector)
    _store_mean(step, step.number, encode, step.training)
    vectors: list[Tensors] = []
    means = []
    has_base_domain = len(step.earlier) == step.number  # it is the first
    if of_base := step.earlier[0] if has_base_domain else step.general:
        _store_mean(step, 0, encode, of_base)
        vectors.append({name: np.zeros_like(tensor) for name, tensor in step.base.items()})
        means.append(_read_mean(step, 0))
    for number in range(1, step.number + 1):
        vectors.append(read_weights(step.memory / f"{number}.safetensors"))
        means.append(_read_mean(step, number))
    router = np.stack(means)

    def shares_of(audio: Samples) -> NDArray[np.float64]:
        return route(encode(audio), router, temperature)

    return Mixture(step.base, vectors, shares_of)


def route(features: NDArray[np.float64], means: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The share of each expert for an utterance.

    Args:
        features: (size,), the mean encoder output of the utterance.
        means: (experts, size), the mean encoder output of each expert's domain.
        temperature: the temperature of the softmax; small values select one expert, large values average them.

    Returns:
        (experts,), positive, with a sum of 1.
    """
    centre = means.mean(axis=0)  # without centring, all cosines would be nearly 1
    centred, centred_means = features - centre, means - centre
    lengths = np.linalg.norm(centred) * np.linalg.norm(centred_means, axis=1)
    cosines = np.divide(centred_means @ centred, lengths, out=np.zeros(len(means)), where=lengths > 0)
    exponentials = np.exp((cosines - cosines.max()) / temperature)
    shares: NDArray[np.float64] = exponentials / exponentials.sum()
    return shares


class _UtteranceEncoder:
    """Computes the base's encoder output for an utterance, averaged over its frames."""

    def __init__(self, step: Step) -> None:
        self._family = families.find(step.bundle)
        self._model = self._family.build(step.bundle.config)
        families.load_weights(self._model, step.base)

    def __call__(self, audio: Samples) -> NDArray[np.float64]:
        with torch.no_grad():
            features = self._family.features(self._model, torch.from_numpy(audio[:MAX_SAMPLES])[None])
        mean: NDArray[np.float64] = features.mean(dim=0).double().numpy()
        return mean


def _store_mean(step: Step, expert: int, encode: _UtteranceEncoder, examples: Sequence[TrainingUtterance]) -> None:
    path = _path_of_mean(step, expert)
    if not path.is_file():
        mean = np.mean([encode(example.read()) for example in examples], axis=0)
        write_weights(path, {"mean": mean.astype(np.float32)})


def _read_mean(step: Step, expert: int) -> NDArray[np.float64]:
    path = _path_of_mean(step, expert)
    mean = read_weights(path).get("mean")
    if mean is None:
        raise BundleError(f"{path}: has no mean")
    return mean.astype(np.float64)


def _path_of_mean(step: Step, expert: int) -> Path:
    return step.memory / f"mean-{expert}.safetensors"
