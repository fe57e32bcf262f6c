"""The training loop for all model families, on the CPU or a GPU. The same seed gives the same weights."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from device_app.recognition.onnx_session import default_threads
from editing.errors import TrainingError
from export.bundle import Bundle
from trainer import families
from trainer.training import memory
from trainer.training.checkpoint import Checkpoint, TrainingState
from trainer.training.cuda_graphs import GraphedGradients
from trainer.training.data import TrainingUtterance
from trainer.training.distillation import WEIGHT, Distillation, TopK
from trainer.training.distributed import Group
from trainer.training.early_stopping import EarlyStopping, last_epoch
from trainer.training.loader import Loader, Microbatch, Update, plan_updates
from trainer.training.model import Adapters, Penalty, TrainableModel, build_network
from trainer.training.settings import FineTuningSettings, schedule

RECENT_UPDATES = 10  # whose mean loss is reported
# Updates in a row that may be left out because their gradient is not finite. With bfloat16 on a CPU with AMX (torch
# 2.11), one fine-tuning had a weight that was NaN, but none when it was repeated with the same recordings and seed.
MAX_SKIPPED = 2
OUTLIERS = "Check the recordings and their texts for outliers: 'asr-edge dataset show' lists them"  # end of an error


@dataclass(frozen=True)
class Progress:
    """The progress of a fine-tuning.

    Attributes:
        step, steps: updates done, and planned.
        epoch: the current one, from 1.
        loss: the mean loss of the last `RECENT_UPDATES` updates, in nats per token.
        left_s: an estimate of the seconds left.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    left_s: float


@dataclass(frozen=True)
class FineTuned:
    """The result of a fine-tuning.

    Attributes:
        weights: all of the model's weights, float32, by parameter name.
        training_losses: nats per token, of each epoch.
        validation_losses: nats per token, before the first epoch and after each.
        seconds: training time, summed over interruptions.
        audio_s: seconds of speech in all updates.
    """

    weights: Mapping[str, NDArray[np.float32]]
    training_losses: Sequence[float]
    validation_losses: Sequence[float]
    seconds: float
    audio_s: float


def finetune(
    bundle: Bundle,
    weights: Mapping[str, NDArray[np.float32]],
    training: Sequence[TrainingUtterance],
    held_out: Sequence[TrainingUtterance],
    settings: FineTuningSettings,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[Progress], None] = lambda _progress: None,
    distillation_set: Sequence[TrainingUtterance] = (),
    teacher: Callable[[], Mapping[str, NDArray[np.float32]]] | None = None,
    penalty: Penalty | None = None,
    adapters: Adapters | None = None,
) -> FineTuned:
    """Fine-tunes on segmented and tokenised utterances. `trainer.training` lists the functions for other inputs.

    Uses AdamW with warm-up and linear decay. There is no weight decay, which would pull the weights
    towards zero rather than towards the base. Stops early once the training loss reaches its target or
    the validation loss becomes clearly worse; in the latter case, returns the weights of the best epoch.
    The same arguments give the same weights on one machine.

    In a torch.distributed group, every process calls this with the same arguments, trains on its share
    of every batch, and returns the same weights. Only rank 0 writes the checkpoint.

    Args:
        bundle: the model's family and configuration.
        weights: the starting weights, by parameter name.
        training: at least one utterance.
        held_out: utterances for validation, never trained on. May be empty.
        settings: how to fine-tune.
        checkpoint: a file from which a killed run resumes; the caller removes it.
        on_step: called after each update.
        distillation_set: see `trainer.training.distillation`; empty for no distillation.
        teacher: loads the weights of the model whose outputs on the distillation set are kept; None for `weights`.
        penalty: computes a term that is added to the loss per token.
        adapters: inserts adapters into the model; the settings' scope decides whether only they are trained.

    Raises:
        TrainingError: the loss is not finite, or memory ran out.
        BadInputError: there is no such scope, or the model has no weights in it.
        BadAudioError: a recording cannot be read.
        StorageError: the checkpoint cannot be written.
    """
    torch.set_num_threads(min(default_threads(), torch.get_num_threads()))  # fewer if OMP_NUM_THREADS says so
    # TF32 has a mantissa of 10 bits, which is only 60 dB, and the first convolutions take raw samples.
    torch.backends.cudnn.allow_tf32 = False
    # Later layers need no more: with TF32, matrix products take half as long, and the losses agreed to four digits.
    torch.backends.cuda.matmul.allow_tf32 = True
    model = TrainableModel.build(bundle, weights, settings, adapters)
    with memory.explain_exhaustion(settings.batch_s):
        distillation = None
        updates = plan_updates(training, settings)
        if distillation_set:
            with model.autocast():
                distillation = Distillation(
                    model.family,
                    model.network,
                    model.network if teacher is None else build_network(bundle, teacher(), model.device),
                    distillation_set,
                    model.device,
                    seconds=[update.seconds for update in updates],
                    seed=settings.seed,
                )
        return _run(model, updates, held_out, settings, checkpoint, on_step, distillation, penalty)


def _run(
    model: TrainableModel,
    updates: list[Update],
    held_out: Sequence[TrainingUtterance],
    settings: FineTuningSettings,
    checkpoint_path: Path | None,
    on_step: Callable[[Progress], None],
    distillation: Distillation | None,
    penalty: Penalty | None,
) -> FineTuned:
    group = Group()
    memory.return_freed_memory()
    updater = Updater(model, settings, group, distillation, penalty)
    stopping = EarlyStopping(model.changing, settings.patience)
    checkpoint, state = None, TrainingState()
    if checkpoint_path is not None:
        checkpoint = Checkpoint(checkpoint_path, settings, model, updater.optimizer, stopping)
        state = checkpoint.resume()
        updates = _until_target(updates, state, settings)

    began = time.monotonic() - state.seconds
    if held_out and not stopping.validation_losses:
        stopping.observe(model.validation_loss(held_out, settings.batch_s))
    recent: deque[float] = deque(maxlen=RECENT_UPDATES)
    loader = Loader(settings, group, model.device, whole_batches=model.uses_batch_statistics)
    with closing(loader.read_all(updates[state.step :])) as batches:
        while state.step < len(updates) and not stopping.should_stop():
            update = updates[state.step]
            loss, tokens = updater.update(update, next(batches), len(updates))
            memory.limit_resident_memory()
            recent.append(loss / tokens)
            state.add(loss, tokens, update.seconds)
            state.seconds = time.monotonic() - began
            if update.ends_epoch:
                state.end_epoch()
                if held_out:
                    stopping.observe(model.validation_loss(held_out, settings.batch_s))
                updates = _until_target(updates, state, settings)
            left_s = state.seconds / state.step * (len(updates) - state.step)
            on_step(Progress(state.step, len(updates), update.epoch, float(np.mean(recent)), left_s))
            if checkpoint is not None and group.rank == 0:
                checkpoint.write_if_due(state)
    stopping.restore_best()
    seconds = time.monotonic() - began
    weights = model.merge_and_export()
    return FineTuned(weights, state.training_losses, stopping.validation_losses, seconds, state.audio_s)


def _until_target(updates: list[Update], state: TrainingState, settings: FineTuningSettings) -> list[Update]:
    """Drops the updates after the last epoch, once the training loss has reached its target."""
    last = last_epoch(state.training_losses, settings.target_loss)
    return updates if last is None else [update for update in updates if update.epoch <= last]


class Updater:
    """Performs updates: accumulates the gradients of a batch's microbatches, then steps AdamW.

    Attributes:
        optimizer: AdamW over the model's trained parameters.
    """

    def __init__(
        self,
        model: TrainableModel,
        settings: FineTuningSettings,
        group: Group,
        distillation: Distillation | None,
        penalty: Penalty | None,
    ) -> None:
        self._model, self._settings, self._group = model, settings, group
        self._distillation, self._penalty = distillation, penalty
        self.optimizer = torch.optim.AdamW(model.trained.values(), settings.learning_rate, weight_decay=0.0, fused=True)
        self._skipped = 0  # updates in a row, up to the last one
        self._graphs: GraphedGradients | None = None
        has_plain_loss = penalty is None and model.merge_adapters is None  # all that the graphs compute
        if model.device == "cuda" and has_plain_loss and families.has_padded_logits(model.family):
            self._graphs = GraphedGradients(model, model.family)

    def update(self, update: Update, microbatches: Sequence[Microbatch], steps: int) -> tuple[float, int]:
        """Performs one of `steps` updates.

        Returns:
            The summed loss of the whole batch before the update, without penalty and distillation, and its number
            of tokens.

        Raises:
            TrainingError: the loss is not finite.
        """
        settings = self._settings
        rate = settings.learning_rate * schedule(update.step, steps, settings.warm_up)
        self.optimizer.param_groups[0]["lr"] = rate
        loss, tokens = self._accumulate_gradients(update, microbatches)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not a number after {update.step} updates; nothing was changed. {OUTLIERS}"
            )
        self._group.all_reduce(self._model.trained.values(), self._model.changing.values())
        norm = torch.nn.utils.clip_grad_norm_(self._model.trained.values(), settings.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
            self._skipped = 0
        else:
            self._skip(update)
        self.optimizer.zero_grad(set_to_none=self._graphs is None)
        return loss, tokens

    def _skip(self, update: Update) -> None:
        """Counts an update whose gradient is not finite, and is therefore left out, as `torch.amp.GradScaler` does.

        Raises:
            TrainingError: it is one too many in a row.
        """
        self._skipped += 1
        if self._skipped > MAX_SKIPPED:
            raise TrainingError(
                f"the gradient is not a number in {self._skipped} updates in a row, up to update {update.step}; "
                f"nothing was changed. {OUTLIERS}"
            )

    def _accumulate_gradients(self, update: Update, microbatches: Sequence[Microbatch]) -> tuple[float, int]:
        self._model.train()
        seed = self._settings.seed * 1_000_003 + update.step
        torch.manual_seed(self._group.own_seed(seed))  # for dropout and feature masks
        tokens = round(self._group.sum(sum(len(one) for part in microbatches for one in part.tokens)))
        loss = 0.0
        for microbatch in microbatches:
            loss += self._add_gradients(microbatch, tokens)
        batch = None if self._distillation is None else self._distillation.batch(update.step)
        if self._distillation is not None and batch is not None:
            self._add_divergence(self._distillation, batch)
        return self._group.sum(loss), tokens

    def _add_gradients(self, microbatch: Microbatch, tokens: int) -> float:
        """Adds the gradients of a microbatch of a batch with this many tokens; returns its summed loss."""
        graphed = None if self._graphs is None else self._graphs.add(microbatch, 1 / tokens)
        if graphed is not None:
            return float(graphed)
        total, count, penalty = self._model.loss(microbatch, self._penalty)
        ((total + penalty * count) / tokens).backward()
        return float(total.detach())

    def _add_divergence(self, distillation: Distillation, batch: tuple[Microbatch, TopK]) -> None:
        """Adds the gradients of the divergence on a batch of general speech."""
        weight = WEIGHT / self._group.size
        if self._graphs is not None and self._graphs.add(batch[0], weight, batch[1]) is not None:
            return
        # The distillation batch has another length, so that memory freed by the training batch may not fit it.
        memory.limit_resident_memory()
        with self._model.autocast():
            divergence = distillation.divergence(batch)
        (weight * divergence).backward()
