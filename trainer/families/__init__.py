"""Model families in torch, one module each, named as in `device_app.recognition.families`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BundleError
from export.bundle import Bundle

# The parameters that a fine-tuning may change: those with one of these components in their dotted names; () is all.
SCOPES: Mapping[str, Sequence[str]] = {
    "acoustic": ("encoder", "encoder_attn"),  # all but the decoder's language modelling
    "all": (),
    "encoder": ("encoder",),
    "decoder": ("decoder", "ctc_head", "lm_head"),
    "attention": ("self_attn", "encoder_attn"),
    "lora": ("lora_A", "lora_B"),  # PEFT's adapters
}


class Family(Protocol):
    """The functions that training needs; every family's module provides them."""

    def build(self, config: Mapping[str, Any], attention: str = "eager") -> torch.nn.Module:
        """Builds a model of this configuration; its weights are loaded later.

        Args:
            config: the settings under "config" in `model.json`.
            attention: transformers' name of the attention implementation. "eager" can be exported to ONNX, "sdpa"
                trains faster.
        """
        ...

    def prepare(self, model: torch.nn.Module) -> None:
        """Modifies the model so that padding does not change its outputs."""
        ...

    def tokenise(self, bundle: Bundle) -> Callable[[str], list[int]]:
        """Returns the function that turns a text into the tokens of the loss."""
        ...

    def loss(
        self,
        model: torch.nn.Module,
        audio: torch.Tensor,
        lengths: torch.Tensor,
        targets: Sequence[Sequence[int]],
        augment: bool = False,
    ) -> tuple[torch.Tensor, int]:
        """The loss of a batch in nats, summed over its tokens (a scalar), and their number.

        Args:
            model: after `prepare`.
            audio: (batch, samples), padded with zeros.
            lengths: (batch,), the samples of each utterance.
            targets: the tokens of each utterance.
            augment: mask parts of the features at random, where the family supports it.
        """
        ...

    def log_probabilities(
        self, model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, targets: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """(frames, vocabulary) for CTC, otherwise (target tokens, vocabulary), those of all utterances in turn.

        Arguments as for `loss`.
        """
        ...

    def features(self, model: torch.nn.Module, audio: torch.Tensor) -> torch.Tensor:
        """The encoder's output for one utterance, (1, samples) -> (frames, size).

        Call it on a model without `prepare`, after which the encoder may need the lengths of a batch.
        """
        ...


class PaddedFamily(Family, Protocol):
    """A family whose loss is the cross-entropy of each token, and can be computed in tensors of fixed shapes."""

    def padded_logits(
        self, model: torch.nn.Module, audio: torch.Tensor, lengths: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """float32 (batch, tokens, vocabulary), also for padding; never waits for the GPU, as CUDA graphs require.

        Args:
            model: after `prepare`.
            audio: (batch, samples), padded with zeros.
            lengths: (batch,), the samples of each utterance.
            labels: (batch, tokens), padded with -1.
        """
        ...


def has_padded_logits(family: Family) -> TypeGuard[PaddedFamily]:
    """Whether a family is a `PaddedFamily`."""
    return hasattr(family, "padded_logits")


STATISTICS = ("running_mean", "running_var")  # of batch norms: part of the model, but changed by no gradient


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a bundle stores, by name: the parameters, and the statistics of batch norms.

    The statistics are merged like parameters. New weights with old statistics would shift every channel.
    """
    statistics = {name: buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] in STATISTICS}
    return {**dict(model.named_parameters()), **statistics}


def load_weights(model: torch.nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copies weights into a model. Names and shapes must match its `state` exactly.

    Tied tensors have one entry: Moonshine's output projection is its embedding.

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
    """Copies a model's `state` to numpy."""
    return {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in state(model).items()}


def names() -> list[str]:
    """The names of the families that can be trained."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find(bundle: Bundle) -> Family:
    """The family of a bundle.

    Raises:
        BundleError: there is no such family.
    """
    if bundle.family not in names():
        raise BundleError(
            f"{bundle.folder}: a model of the family {bundle.family!r}; this asr-edge trains {', '.join(names())}"
        )
    return cast(Family, importlib.import_module(f"{__name__}.{bundle.family.replace('-', '_')}"))
