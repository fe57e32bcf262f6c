"""Runs the grid of methods and seeds; each cell is a sequence of domains that goes on where it was left."""

from __future__ import annotations

import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.training_set import Labelled
from device_app.audio.samples import SAMPLE_RATE, Samples, read
from device_app.data.manifest import Entry, read_manifest
from device_app.evaluation.error_rates import basic, error_counts
from device_app.evaluation.memory import peak_memory_mb, reset_peak_memory
from device_app.evaluation.orthography import as_the_model_writes, differs
from device_app.models.bundles import find_bundle, temporarily_baked
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from editing.files import refuse_overwriting, write_atomically
from editing.registry import Tensors
from export.bundle import Bundle
from export.weights import read_weights, write_weights
from trainer import families
from trainer.executors import Engine, Local, Task
from trainer.lifelong.config import Experiment
from trainer.lifelong.method import FineTune, Mixture, Step, StepResult
from trainer.lifelong.methods import find_methods
from trainer.training.data import Example, load_examples
from trainer.training.loop import Settings, finetune

BASE = "base"
RECORD = "experiment.json"
WRITTEN = (RECORD, "results.json", "results.csv", "summary.md", "sweep.json")  # into the folder of a run

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Domain:
    """A domain's utterances: those to learn from, and those that tell how well."""

    training: Sequence[Entry]
    test: Sequence[Entry]


def load_domains(experiment: Experiment) -> dict[str, Domain]:
    """Reads all manifests before anything is learnt.

    Raises:
        BadInputError: a manifest cannot be read, a recording is missing, or a domain has no test
            part, or none to learn from though it is to be learnt.
    """
    domains = {}
    for name in experiment.all_domains:
        entries = read_manifest(experiment.manifests[name])
        domain = Domain([e for e in entries if e.split == "train"], [e for e in entries if e.split == "test"])
        if not domain.test:
            raise BadInputError(
                f'{experiment.manifests[name]}: has no lines of split "test" to tell how {name} is heard'
            )
        if name in experiment.order and not domain.training:
            raise BadInputError(f'{experiment.manifests[name]}: has no lines of split "train" to learn {name} from')
        domains[name] = domain
    return domains


@contextmanager
def opened(experiment: Experiment, out: Path) -> Iterator[None]:
    """The folder of a run, for this process alone.

    Raises:
        BadInputError: another process runs in it, it holds another experiment, or what is found would
            replace a manifest.
    """
    refuse_overwriting([out / name for name in WRITTEN], experiment.manifests.values())
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInputError(f"{out}: another process is running here; wait, or name another folder") from None
        record = json.loads(json.dumps(asdict(experiment), default=str))
        path = out / RECORD
        if path.is_file():
            # More methods and seeds may be added to what is there; anything else would mix two experiments.
            before = json.loads(path.read_text("utf-8"))
            changed = [k for k, v in record.items() if before.get(k) != v and k not in ("methods", "seeds", "settings")]
            changed += [
                f"settings.{method}"
                for method in before["methods"]
                if before["settings"].get(method) != record["settings"].get(method)
            ]
            if changed:
                raise BadInputError(
                    f"{out}: holds a run with another {', '.join(changed)}; name another folder with --out"
                )
        write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())
        yield


def run(
    experiment: Experiment, out: Path, tell: Tell, threads: int | None = None, engine: Engine | None = None
) -> None:
    """Runs every cell of the grid that is not done yet.

    Args:
        experiment: what to compare.
        out: a folder; all that is found lands in it.
        tell: is told what goes on.
        threads: for the recogniser.
        engine: where cells run; by default here, one after another.

    Raises:
        BadInputError, BadAudioError, TrainingError: as a cell; what was done before is kept.
    """
    domains = load_domains(experiment)
    with opened(experiment, out):
        work = Work(experiment, domains, out, threads)
        tell("preparing the domains, hearing them with the base")
        work.score_base()
        for name in [*experiment.order, *([experiment.base_domain] if experiment.base_domain else [])]:
            if work.domains[name].training:
                work.examples(name)
        tasks = [
            Task(f"{method}, seed {seed}", run_cell, (experiment, out, threads, method, seed))
            for seed in experiment.seeds
            for method in experiment.methods
        ]
        (engine or Local()).run(tasks, tell)


def run_cell(experiment: Experiment, out: Path, threads: int | None, method: str, seed: int) -> None:
    """One method with one seed: all domains in order; steps that are done are not done again."""
    Work(experiment, load_domains(experiment), out, threads).run_cell(method, seed)


class Work:
    """What the cells of one process share: the base, and utterances that have been prepared."""

    def __init__(self, experiment: Experiment, domains: Mapping[str, Domain], out: Path, threads: int | None) -> None:
        self.experiment, self.out, self.threads = experiment, out, threads
        self.domains = _with_part_of_base(experiment, domains)
        self.bundle: Bundle = find_bundle(experiment.base)
        self.base: Tensors = self.bundle.weights()
        # All methods go over a domain equally often, whatever is added to their losses.
        self.settings = Settings(**{"enough": 0.0, **experiment.fine_tuning})
        self._examples: dict[str, list[Example]] = {}

    def examples(self, name: str) -> list[Example]:
        """A domain's training utterances; their texts as the model writes, where the labels are bare.

        What took hearing them, and finding the speech in them, is kept in the run's folder.

        Raises:
            BadAudioError: a recording cannot be read.
            BadInputError: there is no speech in any, or the model cannot write a text.
        """
        if name not in self._examples:
            path = self.out / "prepared" / f"{name}.json"
            if not path.is_file():
                write_atomically(path, json.dumps(self._prepared(self.domains[name].training)).encode())
            tokenise = families.find(self.bundle).tokenise(self.bundle)
            self._examples[name] = [
                Example(Path(audio), start, end, tokenise(text))
                for audio, start, end, text in json.loads(path.read_text("utf-8"))
            ]
            if not self._examples[name]:
                raise BadInputError(f"{self.experiment.manifests[name]}: there is no speech to learn {name} from")
        return self._examples[name]

    def _prepared(self, entries: Sequence[Entry]) -> list[tuple[str, int, int, str]]:
        """File, first and last sample, and text of each utterance in which there is speech."""
        transcriber = Transcriber(self.bundle, threads=self.threads)
        heard = [transcriber.transcribe(read(entry.audio), SAMPLE_RATE).text for entry in entries]
        texts = [entry.text for entry in entries]
        if differs(texts, heard):
            texts = as_the_model_writes(texts, heard)
        text_of = {entry.audio: text for entry, text in zip(entries, texts, strict=True)}
        tokenise = families.find(self.bundle).tokenise(self.bundle)
        examples = load_examples([Labelled(entry.audio, text_of[entry.audio]) for entry in entries], tokenise)
        return [(str(one.audio), one.start, one.end, text_of[one.audio]) for one in examples]

    def score_base(self) -> None:
        """Hears every domain with the base, once for all cells."""
        path = self.out / "cells" / BASE / "step-0.json"
        if not path.is_file():
            _write(path, {"domain": None, "heard": self.score(self.base, self.experiment.all_domains)})

    def run_cell(self, method: str, seed: int) -> None:
        """Learns all domains in order with one method; steps that are done are not done again."""
        chosen = find_methods()[method]
        settings = {**chosen.settings, **self.experiment.settings.get(method, {})}
        cell = self.out / "cells" / method / f"seed-{seed}"
        memory = cell / "memory"
        memory.mkdir(parents=True, exist_ok=True)
        last = len(self.experiment.order)
        done = max((n for n in range(1, last + 1) if (cell / f"step-{n}.json").is_file()), default=0)
        if done == last:
            return
        theta = read_weights(cell / f"theta-{done}.safetensors") if done else dict(self.base)
        first = self.experiment.base_domain
        for number in range(done + 1, last + 1):
            domain = self.experiment.order[number - 1]
            began, before = time.perf_counter(), _size(memory)
            reset_peak_memory()
            earlier = [self.examples(name) for name in self.experiment.order[: number - 1]]
            if first and self.domains[first].training:
                earlier.insert(0, self.examples(first))
            step = Step(
                number=number,
                domain=domain,
                bundle=self.bundle,
                base=self.base,
                theta=theta,
                training=self.examples(domain),
                earlier=earlier,
                memory=memory,
                finetune=self.fine_tuner(seed * 1000 + number),
                learning_rate=self.settings.learning_rate,
                seed=seed,
            )
            learnt = chosen.function(step, **settings)
            theta = dict(learnt.theta if isinstance(learnt, Mixture) else learnt)
            seconds = time.perf_counter() - began
            heard = self.experiment.all_domains if chosen.is_one_model else [domain]
            record = {
                "domain": domain,
                "seconds": seconds,
                "stored_mb": (_size(memory) - before) / 1e6,
                "peak_gb": peak_memory_mb() / 1e3,
                "heard": self.score(learnt, heard),
            }
            write_weights(cell / f"theta-{number}.safetensors", theta)
            _write(cell / f"step-{number}.json", record)
            (cell / f"theta-{number - 1}.safetensors").unlink(missing_ok=True)
        (cell / f"theta-{last}.safetensors").unlink(missing_ok=True)

    def fine_tuner(self, seed: int) -> FineTune:
        """A fine-tuning with the experiment's settings."""

        def tune(
            weights: Tensors, training: Sequence[Example], *, penalty: Any = None, adapters: Any = None, **changes: Any
        ) -> Tensors:
            settings = replace(self.settings, seed=seed, **changes)
            return finetune(self.bundle, weights, training, [], settings, penalty=penalty, adapters=adapters).weights

        return tune

    def score(self, learnt: StepResult, names: Sequence[str]) -> dict[str, Any]:
        """What the int8 model hears in the test parts: wrong words and words of each utterance, `basic`."""
        audio = {entry.audio: read(entry.audio) for name in names for entry in self.domains[name].test}
        heard: dict[Path, str] = {}
        for weights, paths in self._models(learnt, audio):
            with temporarily_baked(self.bundle, weights) as folder:
                transcriber = Transcriber(self.bundle, threads=self.threads, folder=folder)
                heard |= {path: transcriber.transcribe(audio[path], SAMPLE_RATE).text for path in paths}
        found = {}
        for name in names:
            test = self.domains[name].test
            counts = error_counts([entry.text for entry in test], [heard[entry.audio] for entry in test], basic)
            found[name] = {"wrong": counts[:, 0].tolist(), "words": counts[:, 1].tolist()}
        return found

    def _models(self, learnt: StepResult, audio: Mapping[Path, Samples]) -> Iterator[tuple[Tensors, Sequence[Path]]]:
        """Each model that is needed, and the recordings it is to hear.

        A mixture's are made for shares in tenths, so that one serves more than one utterance.
        """
        if not isinstance(learnt, Mixture):
            yield learnt, list(audio)
            return
        groups: dict[tuple[float, ...], list[Path]] = {}
        for path, samples in audio.items():
            groups.setdefault(in_tenths(learnt.route(samples)), []).append(path)
        for shares, paths in groups.items():
            yield learnt.weights(shares), paths


def in_tenths(shares: NDArray[np.float64]) -> tuple[float, ...]:
    """Shares with a sum of 1, rounded to tenths so that their sum stays 1 (the largest remainders go up)."""
    tenths = np.floor(10 * shares)
    up = np.argsort(tenths - 10 * shares, kind="stable")[: round(10 - tenths.sum())]
    tenths[up] += 1
    return tuple(float(tenth) / 10 for tenth in tenths)


def _with_part_of_base(experiment: Experiment, domains: Mapping[str, Domain]) -> dict[str, Domain]:
    """Of what the base was trained on, as much as of the largest domain: nobody keeps all of it."""
    first = experiment.base_domain
    if first is None:
        return dict(domains)
    most = max(len(domains[name].training) for name in experiment.order)
    training = domains[first].training
    every = max(1, math.ceil(len(training) / most))
    return {**domains, first: replace(domains[first], training=training[::every])}


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(record).encode())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
