"""Distillation: keeps a fine-tuning close to its starting model on general speech.

Knowledge distillation (arXiv 1503.02531) as in learning without forgetting (arXiv 1606.09282), but on a
distillation set rather than on the training utterances, whose transcripts contradict the model's outputs.
The distillation set is a minute of recordings bundled with asr-edge. The guard set has other speakers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from device_app.audio.bundled import cut_out
from device_app.audio.samples import SAMPLE_RATE
from device_app.models.baking import temporarily_baked
from device_app.paths import RECORDINGS
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from export.bundle import Bundle
from export.weights import Tensors
from trainer import families
from trainer.training.augment import augment_strongly
from trainer.training.data import TrainingUtterance, stacked

SPANS = RECORDINGS / "spans.jsonl"
VARIANTS = 3  # augmented copies of each utterance
SHARE = 1 / 8  # at most so many seconds of general speech per second of training speech
BATCH_SIZE = 3  # utterances; a single one takes as long, because most of the time is one pass over the weights
WEIGHT = 8.0  # of the divergence per token, relative to the loss per token of the training utterances


def load_distillation_set(bundle: Bundle, weights: Tensors, seed: int) -> list[TrainingUtterance]:
    """The distillation set: `VARIANTS` augmented copies of each bundled recording, labelled by the model.

    Omits recordings whose hypothesis is empty or has more tokens than the model can output.

    Raises:
        BadAudioError: the installation is damaged.
        StorageError: the data folder is full or cannot be written.
    """
    tokenise = families.find(bundle).tokenise(bundle)
    random = np.random.default_rng(seed)
    found = []
    with temporarily_baked(bundle, weights) as folder:
        transcriber = Transcriber(bundle, folder=folder)
        for audio, _ in cut_out(SPANS):
            text = transcriber.transcribe(audio, SAMPLE_RATE).text
            try:
                tokens = tokenise(text) if text else []
            except BadInputError:
                continue
            if tokens:
                variants = (augment_strongly(audio, random) for _ in range(VARIANTS))
                found += [
                    TrainingUtterance(samples=one, end=len(one), hypothesis=text, tokens=tokens) for one in variants
                ]
    return found


class Distillation:
    """The starting model's outputs on the distillation set, and the divergence of the current model from them."""

    def __init__(
        self, family: families.Family, model: torch.nn.Module, utterances: Sequence[TrainingUtterance], device: str
    ) -> None:
        """
        Args:
            family: the model's family.
            model: after `prepare`, with the weights from which the fine-tuning starts.
            utterances: the distillation set.
            device: the model's device.
        """
        self._family, self._model, self._device = family, model, device
        self._utterances = utterances
        model.eval()
        with torch.no_grad():
            self._before = [self._log_probabilities([one]).half() for one in utterances]

    def schedule(self, seconds: Sequence[float]) -> list[bool]:
        """Which updates include a distillation batch, given the seconds of speech in each update's batch."""
        each = BATCH_SIZE * float(np.mean([len(one.read()) for one in self._utterances])) / SAMPLE_RATE
        due = np.floor(SHARE * np.cumsum(seconds) / each)
        return (np.diff(due, prepend=0.0) > 0).tolist()

    def divergence(self, random: np.random.Generator) -> torch.Tensor:
        """KL(before || now) per token (per frame for CTC) on a random batch; leaves the model in evaluation mode."""
        self._model.eval()
        picks = random.permutation(len(self._utterances))[:BATCH_SIZE]
        before = torch.cat([self._before[i].float() for i in picks])
        now = self._log_probabilities([self._utterances[i] for i in picks])
        return torch.nn.functional.kl_div(now, before, reduction="batchmean", log_target=True)

    def _log_probabilities(self, utterances: Sequence[TrainingUtterance]) -> torch.Tensor:
        """(rows, vocabulary), the rows of all utterances in turn."""
        audio, lengths = stacked([one.read() for one in utterances])
        waveforms, samples = torch.from_numpy(audio).to(self._device), torch.tensor(lengths, device=self._device)
        return self._family.log_probabilities(self._model, waveforms, samples, [one.tokens for one in utterances])
