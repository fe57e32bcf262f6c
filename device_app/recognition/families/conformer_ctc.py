"""Conformer-CTC on ONNX Runtime: one graph, audio to log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.audio.samples import Samples
from device_app.data.terms import Term
from device_app.recognition.ctc.decoder import CtcDecoder
from device_app.recognition.onnx_session import session
from device_app.recognition.options import DEFAULT, DecodingOptions
from device_app.recognition.results import Recognition
from editing.errors import BundleError
from export.bundle import Bundle

MIN_SAMPLES = 1600  # 0.1 s at 16 kHz; shorter audio is padded with silence


def load(bundle: Bundle, baked: Path, threads: int, options: DecodingOptions = DEFAULT) -> ConformerCtcRecogniser:
    """Loads the graph that `export.bake` wrote into `baked`.

    Raises:
        BundleError: a file is missing or damaged, or the vocabulary does not match the graph.
    """
    graph = session(baked / "ctc.onnx", threads)
    decoder = CtcDecoder.of(bundle, options)
    vocabulary = graph.get_outputs()[0].shape[-1]
    if vocabulary != decoder.blank + 1:
        raise BundleError(
            f"{bundle.folder}: the graph writes {vocabulary} tokens, the vocabulary has {decoder.blank} and the blank"
        )
    return ConformerCtcRecogniser(graph, decoder)


class ConformerCtcRecogniser:
    """A `device_app.recognition.families.Recogniser`."""

    def __init__(self, graph: Any, decoder: CtcDecoder) -> None:
        self._graph = graph
        self._decoder = decoder

    def recognise(self, audio: Samples, *, is_draft: bool = False) -> Recognition:  # noqa: ARG002
        """Recognises one segment of speech, (samples,) at 16 kHz; a draft is decoded in the same way."""
        padded = _padded(audio)
        return self._decoder.recognition(self._log_probabilities(padded), len(padded))

    def log_probabilities(self, audio: Samples, text: str) -> NDArray[np.float32]:  # noqa: ARG002
        """See `Recogniser.log_probabilities`. The text is not used."""
        return self._log_probabilities(_padded(audio))

    def with_keyterms(self, keyterms: Sequence[Term | str]) -> ConformerCtcRecogniser:
        """See `Recogniser.with_keyterms`."""
        return ConformerCtcRecogniser(self._graph, self._decoder.with_keyterms(keyterms))

    def text_loss(self, log_probabilities: NDArray[np.float32], text: str) -> float | None:  # noqa: ARG002
        """See `Recogniser.text_loss`."""
        return None

    def _log_probabilities(self, padded: Samples) -> NDArray[np.float32]:
        """The log-probabilities (frames, vocabulary) in nats."""
        log_probabilities: NDArray[np.float32] = self._graph.run(None, {"audio": padded[None]})[0][0]
        return log_probabilities


def _padded(audio: Samples) -> Samples:
    return np.pad(audio, (0, max(0, MIN_SAMPLES - len(audio))))
