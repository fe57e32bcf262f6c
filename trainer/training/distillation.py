"""Distillation: keeps a fine-tuned model close to another one, the teacher, on general speech.

Knowledge distillation (arXiv 1503.02531) as in learning without forgetting (arXiv 1606.09282), but on a
distillation set rather than on the training utterances, whose transcripts contradict the model's outputs.
The distillation set is bundled with asr-edge: one utterance of each of 139 readers, none of whom is in the
guard set. An autoregressive model predicts each token from the preceding tokens of the bundled text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from device_app.data.manifest import read_manifest
from device_app.paths import ASSETS
from editing.errors import BadInputError
from export.bundle import DEFAULT_LANGUAGE, Bundle
from trainer import families
from trainer.training.data import TrainingUtterance, batches, stacked
from trainer.training.loader import Microbatch

FOLDER = ASSETS / "distillation_set"
SHARE = 1 / 2  # at most so many seconds of general speech per second of training speech
BATCH_S = 20.0  # of audio, padding included; an update has at most one batch
WEIGHT = 8.0  # of the divergence per token, relative to the loss per token of the training utterances
TOP_K = 64  # outputs of the teacher that are kept for each token; the others are kept as one sum


def load_distillation_set(bundle: Bundle) -> list[TrainingUtterance]:
    """The bundled distillation set, tokenised; empty for models of other languages than English, which it is in.

    Omits texts with more tokens than the model can output.

    Raises:
        BadAudioError, BadInputError: the installation is damaged.
    """
    if bundle.language != DEFAULT_LANGUAGE:
        return []
    tokenise = families.find(bundle).tokenise(bundle)
    found = []
    for one in read_manifest(FOLDER):
        try:
            tokens = tokenise(one.transcript)
        except BadInputError:
            continue
        loaded = one.in_memory()
        found.append(TrainingUtterance.of(loaded, 0, len(loaded.read()), tokens))
    return found


@dataclass(frozen=True)
class TopK:
    """Log-probabilities of the likeliest outputs, and of all others together.

    All 32768 outputs of the embedded model would take 1.5 GB for the distillation set.

    Attributes:
        outputs: (rows, k), indices into the vocabulary.
        log_probabilities: (rows, k).
        rest: (rows,), of the outputs that are not among the k.
    """

    outputs: torch.Tensor
    log_probabilities: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def of(cls, log_probabilities: torch.Tensor) -> TopK:
        """Keeps the `TOP_K` likeliest of log-probabilities (rows, vocabulary); leaves at least one for the rest."""
        top = log_probabilities.topk(min(TOP_K, log_probabilities.shape[1] - 1))
        return cls(top.indices, top.values, _rest(log_probabilities, top.indices))

    def divergence(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """Mean KL divergence per row from these outputs to log-probabilities (rows, vocabulary), in nats.

        Counts the rest as one output, which makes it a lower bound of the divergence over all outputs.
        """
        return self.divergences(log_probabilities).mean()

    def divergences(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """As `divergence`, for each row: (rows,)."""
        current = log_probabilities.gather(1, self.outputs)
        kept = (self.log_probabilities.exp() * (self.log_probabilities - current)).sum(dim=1)
        return kept + self.rest.exp() * (self.rest - _rest(log_probabilities, self.outputs))


def _rest(log_probabilities: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """The log-probability (rows,) of all but these outputs (rows, k) together."""
    return log_probabilities.scatter(1, outputs, -torch.inf).logsumexp(dim=1)


class Distillation:
    """The teacher's outputs on the distillation set, and the divergence of the current model from them."""

    def __init__(
        self,
        family: families.Family,
        model: torch.nn.Module,
        teacher: torch.nn.Module,
        utterances: Sequence[TrainingUtterance],
        device: str,
        *,
        seconds: Sequence[float],
        seed: int,
    ) -> None:
        """Plans which updates include a batch, and computes the teacher's outputs on these batches.

        Args:
            family: the model's family.
            model: after `prepare`; the one that is fine-tuned.
            teacher: after `prepare`, on the same device; left in evaluation mode, and not needed afterwards.
            utterances: the distillation set.
            device: the model's device.
            seconds: seconds of speech in the batch of each update.
            seed: the seed of the batches and their order.
        """
        self._family, self._model, self._device = family, model, device
        random = np.random.default_rng((seed, 2))
        self._batches = batches(utterances, BATCH_S, random)
        self._plan = _plan([sum(one.duration_s for one in batch) for batch in self._batches], seconds, random)
        teacher.eval()
        with torch.no_grad():
            used = sorted({batch for batch in self._plan if batch is not None})
            self._teacher_outputs = {
                batch: TopK.of(self._log_probabilities(teacher, self._read(batch))) for batch in used
            }

    def batch(self, step: int) -> tuple[Microbatch, TopK] | None:
        """The batch of an update, counted from 0, and the teacher's outputs; None if the update has none."""
        batch = self._plan[step]
        return None if batch is None else (self._read(batch), self._teacher_outputs[batch])

    def divergence(self, batch: tuple[Microbatch, TopK]) -> torch.Tensor:
        """KL(teacher || current model) on a batch, in nats per token (per frame for CTC); has gradients.

        Leaves the model in evaluation mode.
        """
        microbatch, teacher_outputs = batch
        self._model.eval()
        return teacher_outputs.divergence(self._log_probabilities(self._model, microbatch))

    def _read(self, batch: int) -> Microbatch:
        utterances = self._batches[batch]
        audio, lengths = stacked([one.read() for one in utterances])
        return Microbatch(audio, lengths, [one.tokens for one in utterances], is_augmented=False)

    def _log_probabilities(self, model: torch.nn.Module, microbatch: Microbatch) -> torch.Tensor:
        """(rows, vocabulary), the rows of all utterances in turn."""
        audio = torch.from_numpy(microbatch.audio).to(self._device)
        lengths = torch.tensor(microbatch.lengths, device=self._device)
        return self._family.log_probabilities(model, audio, lengths, microbatch.tokens)


def _plan(durations: Sequence[float], seconds: Sequence[float], random: np.random.Generator) -> list[int | None]:
    """The batch of each update, if one is due: every batch once in random order, then again in another order.

    Args:
        durations: seconds of general speech in each batch.
        seconds: seconds of training speech in each update.
        random: shuffles the batches.

    Returns:
        For each update, the index of its batch; None if it has none.
    """
    plan: list[int | None] = []
    waiting: list[int] = []  # batches of the current round; the last one is next
    due_s = 0.0
    for training_s in seconds:
        due_s += SHARE * training_s
        waiting = waiting or random.permutation(len(durations)).tolist()
        is_due = durations[waiting[-1]] <= due_s
        due_s -= durations[waiting[-1]] if is_due else 0.0
        plan.append(waiting.pop() if is_due else None)
    return plan
