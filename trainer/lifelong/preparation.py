"""Loads the domains of a run and prepares their training utterances."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.evaluation.orthography import differs_in_style, in_model_style
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from editing.errors import BadInputError
from editing.files import write_atomically
from export.bundle import Bundle
from trainer import families
from trainer.lifelong.config import Experiment
from trainer.lifelong.run_folder import RunFolder, read_examples
from trainer.training.data import TrainingUtterance, load_examples


@dataclass(frozen=True)
class Domain:
    """The training and test splits of a domain."""

    training: Sequence[Utterance]
    test: Sequence[Utterance]


def load_domains(experiment: Experiment) -> dict[str, Domain]:
    """Reads all manifests before any fine-tuning.

    Raises:
        BadInputError: a manifest cannot be read, a recording is missing, a domain has no test split,
            or a domain in `order` has no training split.
    """
    domains = {}
    for name in experiment.all_domains:
        utterances = read_manifest(experiment.manifests[name])
        domain = Domain([u for u in utterances if u.split == "train"], [u for u in utterances if u.split == "test"])
        if not domain.test:
            raise BadInputError(f'{experiment.manifests[name]}: has no lines of split "test" to test {name}')
        if name in experiment.order and not domain.training:
            raise BadInputError(f'{experiment.manifests[name]}: has no lines of split "train" to train on {name}')
        domains[name] = domain
    return domains


def with_limited_base_domain(experiment: Experiment, domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Limits the base's own domain to as many training utterances as the largest other one, for rehearsal methods."""
    first = experiment.base_domain
    if first is None:
        return dict(domains)
    most = max(len(domains[name].training) for name in experiment.order)
    training = domains[first].training
    every = max(1, math.ceil(len(training) / most))
    return {**domains, first: replace(domains[first], training=training[::every])}


class TrainingExamples:
    """The training utterances of each domain, prepared once and stored in the run's folder."""

    def __init__(
        self,
        bundle: Bundle,
        domains: Mapping[str, Domain],
        manifests: Mapping[str, Path],
        folder: RunFolder,
        threads: int | None,
    ) -> None:
        """
        Args:
            bundle: the base.
            domains: by name.
            manifests: the manifests of the domains, for error messages.
            folder: stores the results of transcription and voice activity detection.
            threads: for the recogniser.
        """
        self._bundle, self._domains, self._manifests = bundle, domains, manifests
        self._folder, self._threads = folder, threads
        self._tokenise = families.find(bundle).tokenise(bundle)
        self._examples: dict[str, list[TrainingUtterance]] = {}

    def of(self, domain: str) -> list[TrainingUtterance]:
        """The prepared training utterances of a domain.

        Labels without capitals or punctuation are converted to the model's orthography.

        Raises:
            BadAudioError: a recording cannot be read.
            BadInputError: no recording has speech, or a text has characters outside the vocabulary.
        """
        if domain not in self._examples:
            path = self._folder.prepared(domain)
            if not path.is_file():
                write_atomically(path, json.dumps(self._prepared(self._domains[domain].training)).encode())
            examples = [
                TrainingUtterance(audio=Path(audio), start=start, end=end, text=text, tokens=self._tokenise(text))
                for audio, start, end, text in read_examples(path)
            ]
            if not examples:
                raise BadInputError(f"{self._manifests[domain]}: no recording of {domain} has speech")
            self._examples[domain] = examples
        return self._examples[domain]

    def _prepared(self, utterances: Sequence[Utterance]) -> list[tuple[str, int, int, str]]:
        """Of each utterance with speech: its file, its first sample and the one after its last, and its text."""
        hypotheses = UtteranceTranscriber(self._bundle, self._threads).texts(utterances)
        texts = [one.transcript for one in utterances]
        if differs_in_style(texts, hypotheses):
            texts = in_model_style(texts, hypotheses)
        labelled = [replace(one, text=text) for one, text in zip(utterances, texts, strict=True)]
        examples = load_examples(labelled, self._tokenise)
        return [(str(one.audio), one.start, one.end, one.transcript) for one in examples]
