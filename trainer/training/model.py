"""The model during fine-tuning: its trainable weights, loss and numeric precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from editing.errors import BadInputError, one_line
from export.bundle import Bundle
from trainer import attention, families
from trainer.strided_convolutions import cut_unused_frames
from trainer.training.data import TrainingUtterance, batches
from trainer.training.loader import Microbatch
from trainer.training.settings import FineTuningSettings

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)  # compute statistics over a whole batch

# (model, audio (batch, samples), lengths (batch,) in samples, tokens) -> a scalar that is added to the loss per token.
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
        changing: all tensors that change: `trained`, and the statistics of the batch norms in the scope.
        frozen_batch_norms: those outside the scope; they keep their statistics.
        merge_adapters: merges the adapters into the weights; None without adapters.
    """

    family: families.Family
    network: torch.nn.Module
    device: str
    trained: Mapping[str, torch.Tensor]
    changing: Mapping[str, torch.Tensor]
    frozen_batch_norms: Sequence[torch.nn.Module]
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

        Args:
            bundle: its family and configuration.
            weights: of all its tensors, by parameter name.
            settings: the scope and `embeddings` decide which parameters are trained.
            adapters: inserts adapters, before the parameters are chosen; None for none.

        Raises:
            BadInputError: there is no such scope, or the model has no weights in it.
            BundleError: the weights do not fit the model.
        """
        if settings.scope not in families.SCOPES:
            raise BadInputError(
                f"there is no scope {one_line(repr(settings.scope), 60)}; there are {', '.join(families.SCOPES)}"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        family, network = families.find(bundle), build_network(bundle, weights, device)
        merge_adapters = adapters(network) if adapters is not None else None
        network.to(device)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(_is_trained(name, settings))
        batch_norms = {name: module for name, module in network.named_modules() if isinstance(module, BATCH_NORMS)}
        frozen = {name: module for name, module in batch_norms.items() if not _is_trained(name, settings)}
        state = families.state(network)
        trained = {name: tensor for name, tensor in state.items() if tensor.requires_grad}
        if not trained:
            raise BadInputError(f"this model has no weights in the scope {settings.scope!r}")
        parameters = {name for name, _ in network.named_parameters()}
        statistics = {
            name: tensor
            for name, tensor in state.items()
            if name not in parameters and name.rpartition(".")[0] not in frozen
        }
        return cls(family, network, device, trained, trained | statistics, [*frozen.values()], merge_adapters)

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether a batch norm normalises by the statistics of the batch, so that a batch cannot be split."""
        frozen = {id(module) for module in self.frozen_batch_norms}
        return any(isinstance(one, BATCH_NORMS) and id(one) not in frozen for one in self.network.modules())

    def train(self) -> None:
        """Puts the network into training mode, with dropout; batch norms outside the scope stay as they are.

        In training mode, they would update their statistics, and so change weights that are not to change.
        """
        self.network.train()
        for module in self.frozen_batch_norms:
            module.eval()

    def loss(
        self, microbatch: Microbatch, penalty: Penalty | None = None
    ) -> tuple[torch.Tensor, int, torch.Tensor | float]:
        """The loss of a microbatch, with gradients.

        Returns:
            The loss in nats, summed over the tokens (a scalar); the number of tokens; and the penalty in nats per
            token (a scalar; 0 without one).
        """
        audio = torch.from_numpy(microbatch.audio).to(self.device)
        lengths = torch.tensor(microbatch.lengths, device=self.device)
        tokens = microbatch.tokens
        with self.autocast():
            total, count = self.family.loss(self.network, audio, lengths, tokens, augment=microbatch.is_augmented)
            return total, count, penalty(self.network, audio, lengths, tokens) if penalty is not None else 0.0

    def validation_loss(self, examples: Sequence[TrainingUtterance], batch_s: float) -> float:
        """The loss in nats per token; leaves the network in evaluation mode.

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
        """The context in which the network runs: bfloat16 where that is faster, else float32."""
        return torch.autocast(self.device, torch.bfloat16, enabled=is_bf16_fast(self.device))

    def merge_and_export(self) -> dict[str, NDArray[np.float32]]:
        """Merges the adapters, if any, into the network, and returns a copy of its weights by parameter name.

        Call it once, after the training.
        """
        if self.merge_adapters is not None:
            self.merge_adapters()
        return families.arrays(self.network)


def build_network(bundle: Bundle, weights: Mapping[str, NDArray[np.float32]], device: str) -> torch.nn.Module:
    """Builds a network as it is during fine-tuning, after `prepare`, on a device.

    Raises:
        BundleError: the weights do not fit the model.
    """
    family = families.find(bundle)
    network = family.build(bundle.config, attention=attention.FLOAT32 if is_bf16_fast(device) else "sdpa")
    families.load_weights(network, weights)
    family.prepare(network)
    if device == "cpu":
        cut_unused_frames(network)
    return network.to(device)


def is_bf16_fast(device: str) -> bool:
    """Whether bfloat16 is faster than float32: only on CPUs that multiply it in hardware.

    On a GPU, before CUDA graphs (`cuda_graphs`), most of an update of such a small model was kernel launches, and each
    cast added one: Moonshine Tiny took 1.5 times as long on an H100, without a lower WER.
    """
    if device != "cpu":
        return False
    checks = (
        getattr(torch.cpu, name, lambda: False) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks)


def _is_trained(name: str, settings: FineTuningSettings) -> bool:
    """Whether the parameter or module with this dotted name is in the scope."""
    if "embed_tokens" in name and not settings.embeddings:
        return False
    components = families.SCOPES[settings.scope]
    return not components or any(f".{component}." in f".{name}." for component in components)
