"""Graphs of CTC models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from export.bundle import GRAPHS, NEMO_GRAPH
from export.graphs import weightless


class CtcGraph(nn.Module):
    """A CTC model: audio in, log-probabilities of every token and the blank, one row per frame, out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.ctc_head, self.front_end = model.encoder, model.ctc_head, model.front_end

    def forward(self, audio: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, vocabulary)."""
        return torch.log_softmax(self.ctc_head(self.encoder(self.front_end(audio)).last_hidden_state), dim=-1)


class NemoCtcGraph(nn.Module):
    """The CTC model without its front end, with the inputs that onnx-asr and sherpa-onnx pass to a NeMo model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.ctc_head = model.encoder, model.ctc_head

    def forward(self, audio_signal: Tensor, length: Tensor) -> Tensor:
        """Features to log-probabilities.

        Args:
            audio_signal: log-mel features, (batch, bins, frames).
            length: the number of frames of each utterance, (batch,).

        Returns:
            (batch, output frames, vocabulary); an output frame is several frames, by the model's subsampling.
        """
        mask = (torch.arange(audio_signal.shape[2]) < length[:, None]).long()
        encoded = self.encoder(audio_signal.transpose(1, 2), attention_mask=mask)
        return torch.log_softmax(self.ctc_head(encoded.last_hidden_state), dim=-1)


def export_conformer_ctc(model: Any, folder: Path) -> None:
    """Writes `graphs/ctc.onnx` (audio to log-probabilities) and `nemo/model.onnx` (features to log-probabilities).

    Args:
        model: a model of `trainer.families.conformer_ctc`, eager attention.
        folder: the folder of the bundle; created if it does not exist.
    """
    batch = torch.export.Dim("batch")
    bins = model.config.encoder_config.num_mel_bins
    weightless.export_graph(
        NemoCtcGraph(model),
        folder / NEMO_GRAPH,
        args=(torch.zeros(2, bins, 100), torch.tensor([100, 90])),  # examples, whose sizes do not matter
        dynamic_shapes=({0: batch, 2: torch.export.Dim("frames", min=16)}, {0: batch}),
        inputs=["audio_signal", "length"],
        outputs=["logprobs"],
    )
    weightless.export_graph(
        CtcGraph(model),
        folder / GRAPHS / "ctc.onnx",
        args=(torch.zeros(2, 16000),),
        # The recognisers pad shorter audio to 1600 samples, 0.1 s.
        dynamic_shapes=({0: batch, 1: torch.export.Dim("samples", min=1600)},),
        inputs=["audio"],
        outputs=["log_probabilities"],
    )


def export_auto_ctc(model: nn.Module, folder: Path) -> None:
    """Writes `graphs/ctc.onnx` (audio to log-probabilities).

    Args:
        model: a model of `trainer.families.auto_ctc`, eager attention.
        folder: the folder of the bundle; created if it does not exist.
    """
    weightless.export_graph(
        model,
        folder / GRAPHS / "ctc.onnx",
        args=(torch.zeros(1, 16000),),
        # The recognisers pad shorter audio to 1600 samples, 0.1 s.
        dynamic_shapes=({1: torch.export.Dim("samples", min=1600)},),
        inputs=["audio"],
        outputs=["log_probabilities"],
    )
