"""Model families in torch: one file each, of the same name as in `device_app.recognition.families`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BundleError
from export.bundle import Bundle

# What a fine-tuning may touch, as parts of parameter names between dots; nothing named is everything.
SCOPES: Mapping[str, Sequence[str]] = {
    "acoustic": ("encoder", "encoder_attn"),  # all but the decoder's knowledge of language
    "all": (),
    "encoder": ("encoder",),
    "decoder": ("decoder", "ctc_head", "lm_head"),
    "attention": ("self_attn", "encoder_attn"),
    "lora": ("lora_A", "lora_B"),  # of PEFT, where they have been put in
}


class Family(Protocol):
    """What training needs of a family; the family's module satisfies it."""

    def build(self, config: Mapping[str, Any], attention: str = "eager") -> torch.nn.Module:
        """A model of this shape, its weights yet to be loaded."""
        ...

    def prepare(self, model: torch.nn.Module) -> None:
        """Makes the model compute a padded batch as it computes its utterances one by one."""
        ...

    def tokenise(self, bundle: Bundle) -> Callable[[str], list[int]]:
        """Gives the function that turns a text into the tokens of its loss."""
        ...

    def loss(
        self,
        model: torch.nn.Module,
        audio: torch.Tensor,
        lengths: torch.Tensor,
        targets: Sequence[Sequence[int]],
        augment: bool = False,
    ) -> tuple[torch.Tensor, int]:
        """The summed loss of a batch, and over how many tokens.

        Args:
            model: prepared.
            audio: (batch, samples), zeros after each one's end.
            lengths: (batch,), samples of each.
            targets: tokens of each.
            augment: mask parts of the features at random, if the family does that.
        """
        ...

    def log_probabilities(
        self, model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """(rows, vocabulary): of every token of the targets, or of every frame, with arguments as `loss`."""
        ...

    def features(self, model: torch.nn.Module, audio: torch.Tensor) -> torch.Tensor:
        """The encoder's output for one utterance, (1, samples) -> (frames, size); the model is not prepared."""
        ...


STATISTICS = ("running_mean", "running_var")  # of batch norms: no gradient changes them, but they are part of the model


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What a bundle's weights hold of a model, by name: its parameters, and the statistics of its batch norms.

    The statistics are merged as the parameters are. A batch norm is an affine map, and theta_t
    is only the model that the merge promises if that map lies between the two models' as well:
    new weights beside old statistics would shift every channel.
    """
    statistics = {name: buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] in STATISTICS}
    return {**dict(model.named_parameters()), **statistics}


def load_weights(model: torch.nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copies weights into a model; names and shapes must be exactly those of its `state`.

    A tied tensor has one entry: Moonshine's output projection is its embedding.

    Raises:
        BundleError: a tensor is missing, unknown, or of another shape.
    """
    expected = state(model)
    problems = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name} is unknown" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name} has shape {weights[name].shape}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tuple(tensor.shape)
    ]
    if problems:
        raise BundleError(f"weights do not fit the model: {'; '.join(sorted(problems)[:5])}")
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(torch.from_numpy(np.array(weights[name])))


def arrays(model: torch.nn.Module) -> dict[str, NDArray[np.float32]]:
    """A copy of a model's `state` in numpy."""
    return {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in state(model).items()}


def names() -> list[str]:
    """The families that can be trained here."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(bundle: Bundle) -> Family:
    """The family of a bundle.

    Raises:
        BundleError: none of that name can be trained here.
    """
    if bundle.family not in names():
        raise BundleError(
            f"{bundle.folder}: a model of the family {bundle.family!r}; this asr-edge trains {', '.join(names())}"
        )
    return cast(Family, importlib.import_module(f"{__name__}.{bundle.family.replace('-', '_')}"))
