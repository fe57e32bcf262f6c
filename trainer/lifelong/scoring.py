"""Word errors on the domains' test splits, of the int8 model that a device would run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_app.data.utterance import Utterance
from device_app.evaluation.error_rates import basic, error_counts
from device_app.models.baking import temporarily_baked
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from editing.method import Tensors
from export.bundle import Bundle
from trainer.lifelong.method import Mixture, StepResult
from trainer.lifelong.metrics import WordErrors
from trainer.lifelong.preparation import Domain

AudioKey = tuple[Path, int, int | None]  # of an utterance: the file, the first sample, and the one after the last


class Scorer:
    """Transcribes test splits with given weights and counts word errors."""

    def __init__(self, bundle: Bundle, domains: Mapping[str, Domain], threads: int | None) -> None:
        """
        Args:
            bundle: its graphs are baked with the weights.
            domains: by name.
            threads: utterances that are transcribed at a time.
        """
        self._bundle, self._domains, self._threads = bundle, domains, threads

    def score(self, result: StepResult, names: Sequence[str]) -> dict[str, WordErrors]:
        """Word errors by domain, with the normaliser `basic`.

        Raises:
            BadAudioError: a recording cannot be read.
        """
        tested = (one for name in names for one in self._domains[name].test)
        utterances = {_audio_key(one): one.in_memory() for one in tested}
        hypotheses: dict[AudioKey, str] = {}
        for weights, keys in _models(result, utterances):
            with temporarily_baked(self._bundle, weights) as folder:
                transcriber = UtteranceTranscriber(self._bundle, self._threads, folder=folder)
                texts = transcriber.texts([utterances[key] for key in keys])
                hypotheses |= dict(zip(keys, texts, strict=True))
        found: dict[str, WordErrors] = {}
        for name in names:
            test = self._domains[name].test
            references = [one.transcript for one in test]
            counts = error_counts(references, [hypotheses[_audio_key(one)] for one in test], basic)
            found[name] = {"wrong": counts[:, 0].tolist(), "words": counts[:, 1].tolist()}
        return found


def _audio_key(utterance: Utterance) -> AudioKey:
    return utterance.file, utterance.start, utterance.end


def _models(
    result: StepResult, utterances: Mapping[AudioKey, Utterance]
) -> Iterator[tuple[Tensors, Sequence[AudioKey]]]:
    """Yields the weights of each model and the utterances to transcribe with it.

    The shares of a mixture are rounded to tenths, so that several utterances can share a model.
    """
    if not isinstance(result, Mixture):
        yield result, list(utterances)
        return
    groups: dict[tuple[float, ...], list[AudioKey]] = {}
    for key, one in utterances.items():
        groups.setdefault(in_tenths(result.route(one.read())), []).append(key)
    for shares, keys in groups.items():
        yield result.weights(shares), keys


def in_tenths(shares: NDArray[np.float64]) -> tuple[float, ...]:
    """Rounds shares (experts,) that sum to 1 to tenths and keeps the sum: the largest remainders are rounded up."""
    tenths = np.floor(10 * shares)
    up = np.argsort(tenths - 10 * shares, kind="stable")[: round(10 - tenths.sum())]
    tenths[up] += 1
    return tuple(float(tenth) / 10 for tenth in tenths)
