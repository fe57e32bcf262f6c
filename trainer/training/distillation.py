"""General speech on which a fine-tuning must go on hearing what its start heard.

Knowledge distillation (arXiv 1503.02531) as learning without forgetting has it (arXiv 1606.09282), but
on speech that is not to be learnt: what a model still hears there is not what it is taught otherwise.
A minute of recordings comes with asr-edge; the canary, which judges, is of other readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from device_app.audio.bundled import cut_out
from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.models.bundles import temporarily_baked
from device_app.paths import RECORDINGS
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from export.bundle import Bundle
from export.weights import Tensors
from trainer import families
from trainer.training.augment import augment_strongly
from trainer.training.data import stacked

SPANS = RECORDINGS / "spans.jsonl"
VARIANTS = 3  # of each utterance, as other voices and microphones would give it
SHARE = 1 / 8  # of the seconds that are learnt, at most, which are heard beside them
AT_ONCE = 3  # utterances: one alone takes as long, as most of it is going over the weights
STRENGTH = 8.0  # of the divergence of a token, beside the loss of a token that is learnt


@dataclass(frozen=True)
class Utterance:
    """Audio (samples,) at 16 kHz, and the tokens that the model to be fine-tuned hears in it."""

    audio: Samples
    tokens: Sequence[int]


def general_speech(bundle: Bundle, weights: Tensors, seed: int) -> list[Utterance]:
    """The recordings that come with asr-edge, each in some variants, as a model hears them.

    Those in which it hears nothing, or more than it can write, are left out: they hold nothing.

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
                found += [Utterance(augment_strongly(audio, random), tokens) for _ in range(VARIANTS)]
    return found


class Anchor:
    """What a model hears in general speech before it is fine-tuned, and how far it has come from that."""

    def __init__(
        self, family: families.Family, model: torch.nn.Module, utterances: Sequence[Utterance], device: str
    ) -> None:
        """
        Args:
            family: of the model.
            model: prepared, with the weights from which the fine-tuning starts.
            utterances: of general speech.
            device: where the model is.
        """
        self._family, self._model, self._device = family, model, device
        self._utterances = utterances
        model.eval()
        with torch.no_grad():
            self._before = [self._heard([one]).half() for one in utterances]

    def schedule(self, seconds: Sequence[float]) -> list[bool]:
        """Beside which of the batches, of so many seconds each, the model is held."""
        each = AT_ONCE * float(np.mean([len(one.audio) for one in self._utterances])) / SAMPLE_RATE
        due = np.floor(SHARE * np.cumsum(seconds) / each)
        return (np.diff(due, prepend=0.0) > 0).tolist()

    def divergence(self, random: np.random.Generator) -> torch.Tensor:
        """KL(before || now) of a token, or a frame, over some utterances; leaves the model in evaluation mode."""
        self._model.eval()
        picks = random.permutation(len(self._utterances))[:AT_ONCE]
        before = torch.cat([self._before[i].float() for i in picks])
        now = self._heard([self._utterances[i] for i in picks])
        return torch.nn.functional.kl_div(now, before, reduction="batchmean", log_target=True)

    def _heard(self, utterances: Sequence[Utterance]) -> torch.Tensor:
        """Log-probabilities (rows, vocabulary), one utterance's after the other's."""
        audio, lengths = stacked([one.audio for one in utterances])
        given = torch.from_numpy(audio).to(self._device), torch.tensor(lengths, device=self._device)
        return self._family.log_probabilities(self._model, *given, [one.tokens for one in utterances])
