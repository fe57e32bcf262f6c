"""The model during fine-tuning: its trainable weights, loss and numeric precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BadInputError
from export.bundle import Bundle
from trainer import families
from trainer.training.data import TrainingUtterance, batches
from trainer.training.loader import Microbatch
from trainer.training.settings import FineTuningSettings

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)  # compute statistics over a whole batch

# From model, audio (batch, samples), lengths (batch,) and tokens to a term that is added to the loss per token.
Penalty = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor, Sequence[Sequence[int]]], torch.Tensor]

# Inserts adapters into a model; returns the function that merges them into the weights.
Adapters = Callable[[torch.nn.Module], Callable[[], None]]


@dataclass(frozen=True)
class TrainableModel:
    """A model on its training device.

    Attributes:
        family: computes the loss.
        network: on `device`; frozen parameters have requires_grad=False.
        device: "cpu" or "cuda".
        trained: the trainable parameters, by name.
        changing: all tensors that change: `trained`, and the statistics of batch norms.
        merge_adapters: merges the adapters into the weights; None without adapters.
    """

    family: families.Family
    network: torch.nn.Module
    device: str
    trained: Mapping[str, torch.Tensor]
    changing: Mapping[str, torch.Tensor]
    merge_adapters: Callable[[], None] | None

    @classmethod
    def build(
        cls,
        bundle: Bundle,
        weights: Mapping[str, NDArray[np.float32]],
        settings: FineTuningSettings,
        adapters: Adapters | None = None,
    ) -> TrainableModel:
        """Builds the model, on the GPU if there is one.

        Raises:
            BadInputError: the model has no weights in the settings' scope.
            BundleError: the weights do not fit the model.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        family = families.find(bundle)
        network = family.build(bundle.config, attention="sdpa")
        families.load_weights(network, weights)
        family.prepare(network)
        merge_adapters = adapters(network) if adapters is not None else None
        network.to(device)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(_may_change(name, settings))
        parameters = {name for name, _ in network.named_parameters()}
        state = families.state(network)
        trained = {name: tensor for name, tensor in state.items() if tensor.requires_grad}
        if not trained:
            raise BadInputError(f"this model has no weights in the scope {settings.scope!r}")
        changing = {name: tensor for name, tensor in state.items() if name in trained or name not in parameters}
        return cls(family, network, device, trained, changing, merge_adapters)

    @property
    def has_batch_norm(self) -> bool:
        return any(isinstance(module, BATCH_NORMS) for module in self.network.modules())

    def loss(
        self, microbatch: Microbatch, penalty: Penalty | None = None
    ) -> tuple[torch.Tensor, int, torch.Tensor | float]:
        """The summed loss, the number of tokens, and the penalty per token (0 without one)."""
        audio = torch.from_numpy(microbatch.audio).to(self.device)
        lengths = torch.tensor(microbatch.lengths, device=self.device)
        tokens = microbatch.tokens
        with self.autocast():
            total, count = self.family.loss(self.network, audio, lengths, tokens, augment=microbatch.is_augmented)
            return total, count, penalty(self.network, audio, lengths, tokens) if penalty is not None else 0.0

    def validation_loss(self, examples: Sequence[TrainingUtterance], batch_s: float) -> float:
        """The loss per token; leaves the network in evaluation mode.

        Args:
            examples: at least one utterance.
            batch_s: seconds of audio in a batch.
        """
        self.network.eval()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for batch in batches(examples, batch_s):
                loss, count, _ = self.loss(Microbatch.read(batch))
                total, tokens = total + float(loss), tokens + count
        return total / tokens

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=is_bf16_fast(self.device))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Merges the adapters, if any, and returns a copy of the weights by parameter name."""
        if self.merge_adapters is not None:
            self.merge_adapters()
        return families.arrays(self.network)


def is_bf16_fast(device: str) -> bool:
    """Whether bfloat16 is faster than float32: only on CPUs that multiply it in hardware.

    On a GPU, most of an update of such a small model is kernel launches, and each cast adds one. Moonshine Tiny
    took 1.5 times as long on an H100, without a lower WER.
    """
    if device != "cpu":
        return False
    checks = (
        getattr(torch.cpu, name, lambda: False) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks)


def _may_change(name: str, settings: FineTuningSettings) -> bool:
    if "embed_tokens" in name and not settings.embeddings:
        return False
    parts = families.SCOPES[settings.scope]
    return not parts or any(f".{part}." in f".{name}." for part in parts)
