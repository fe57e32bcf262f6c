"""Runs the grid of methods and seeds. Each cell runs all domains in order and resumes after an interruption."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from device_app.evaluation.memory import peak_memory_mb, reset_peak_memory
from device_app.models.bundles import EMBEDDED_NAME, find_bundle
from editing.errors import BundleError
from editing.files import write_atomically
from editing.layers import check_parts
from editing.method import Tensors
from export.bundle import Bundle
from export.weights import write_weights
from trainer.executors import Executor, LocalExecutor, Task
from trainer.lifelong.cells import read_step
from trainer.lifelong.config import Experiment, step_seed
from trainer.lifelong.fine_tuner import FineTuner
from trainer.lifelong.method import Method, Mixture, Step
from trainer.lifelong.methods import find_methods
from trainer.lifelong.methods.references import REFERENCE
from trainer.lifelong.preparation import Domain, TrainingExamples, load_domains, with_limited_base_domain
from trainer.lifelong.run_folder import RunFolder, open_run_folder, read_scores, read_stored_weights, to_delete
from trainer.lifelong.scoring import Scorer
from trainer.training.data import TrainingUtterance
from trainer.training.distillation import load_distillation_set
from trainer.training.settings import FineTuningSettings

Report = Callable[[str], None]


def run(
    experiment: Experiment, out: Path, report: Report, threads: int | None = None, executor: Executor | None = None
) -> None:
    """Runs all cells of the grid that are not finished.

    Args:
        experiment: the base, domains, methods and seeds.
        out: the folder for all results.
        report: receives progress messages.
        threads: for the recogniser.
        executor: runs the cells; by default on this machine, one after another.

    Raises:
        BadInputError: a setting does not fit the base, the folder cannot be used, or a file in it is damaged.
        BadAudioError, TrainingError: a cell failed; finished steps are kept.
    """
    shared = Run(experiment, load_domains(experiment), out, threads)
    with open_run_folder(experiment, out):
        report("preparing the domains, scoring the base")
        shared.score_base()
        for seed in experiment.seeds:
            for method in experiment.methods:
                shared.finished_steps(method, seed)  # a damaged file is reported before the cells run
        shared.prepare_examples()
        tasks = [
            Task(f"{method}, seed {seed}", run_cell, (experiment, out, threads, method, seed))
            for seed in experiment.seeds
            for method in experiment.methods
        ]
        (executor or LocalExecutor()).run(tasks, report)
        shutil.rmtree(shared.folder.fine_tunings, ignore_errors=True)


def run_cell(experiment: Experiment, out: Path, threads: int | None, method: str, seed: int) -> None:
    """Runs all domains in order with one method and one seed; finished steps are not repeated."""
    Run(experiment, load_domains(experiment), out, threads).run_cell(method, seed)


class Run:
    """The objects that the cells of a process share: base, training examples and scorer.

    Attributes:
        experiment: the base, domains, methods and seeds.
        folder: the run's folder.
        base: the base's weights.
        settings: the fine-tuning settings of all methods.
        examples: the training utterances, by domain.
        scorer: scores the test splits.
    """

    def __init__(self, experiment: Experiment, domains: Mapping[str, Domain], out: Path, threads: int | None) -> None:
        self.experiment, self.folder = experiment, RunFolder(out)
        self._domains = with_limited_base_domain(experiment, domains)
        self._bundle: Bundle = find_bundle(experiment.base or EMBEDDED_NAME)
        self.base: Tensors = self._bundle.weights()
        for method, settings in experiment.settings.items():
            check_parts(f"[settings.{method}] lam", settings.get("lam", 1.0), self.base)
        # No target loss: all methods train for the same number of epochs, even with a penalty in the loss.
        self.settings = FineTuningSettings(**{"target_loss": 0.0, **experiment.fine_tuning})
        self.examples = TrainingExamples(self._bundle, self._domains, experiment.manifests, self.folder, threads)
        self.scorer = Scorer(self._bundle, self._domains, threads)

    @cached_property
    def _distillation_set(self) -> Sequence[TrainingUtterance]:
        return load_distillation_set(self._bundle)

    def prepare_examples(self) -> None:
        """Prepares the training examples of all domains, once for all cells."""
        for name in [*self.experiment.order, *self._base_domain()]:
            if self._domains[name].training:
                self.examples.of(name)

    def score_base(self) -> None:
        """Scores the base on every domain, once for all cells."""
        path = self.folder.base_scores
        if path.is_file():
            read_scores(path, self.experiment.all_domains)  # a damaged one is reported before the cells run
        else:
            scores = self.scorer.score(self.base, self.experiment.all_domains)
            _write(path, {"domain": None, "errors": scores})

    def finished_steps(self, method: str, seed: int) -> list[dict[str, Any]]:
        """The scores and costs of a cell's finished steps.

        Raises:
            BadInputError: a file of them is damaged.
        """
        numbers = range(1, len(self.experiment.order) + 1)
        finished = takewhile(lambda number: self.folder.step(method, seed, number).is_file(), numbers)
        return [read_step(self.experiment, self.folder, method, seed, number) for number in finished]

    def run_cell(self, method: str, seed: int) -> None:
        """Runs all domains in order with one method and one seed; finished steps are not repeated."""
        self.folder.memory(method, seed).mkdir(parents=True, exist_ok=True)
        last = len(self.experiment.order)
        finished = self.finished_steps(method, seed)
        done = len(finished)
        self._keep_weights(method, seed, done)
        if done == last:
            return
        theta: Tensors = dict(self.base)
        if done:
            theta = read_stored_weights(self.folder.weights(method, seed, done), self.folder.cell(method, seed))
        for number in range(done + 1, last + 1):
            stored_mb = sum(step["stored_mb"] for step in finished)
            theta, record = self._run_step(find_methods()[method], seed, number, theta, stored_mb)
            write_weights(self.folder.weights(method, seed, number), dict(theta))
            _write(self.folder.step(method, seed, number), record)
            finished.append(record)
            self._keep_weights(method, seed, number)

    def _keep_weights(self, method: str, seed: int, number: int) -> None:
        """Deletes the weights after other steps than this one, or all after the last; and what a killed run left."""
        kept = None if number == len(self.experiment.order) else self.folder.weights(method, seed, number)
        cell = self.folder.cell(method, seed)
        for path in (*cell.glob("theta-*.safetensors"), *cell.rglob(".*.tmp")):
            if path != kept:
                path.unlink(missing_ok=True)

    def _run_step(
        self, method: Method, seed: int, number: int, theta: Tensors, stored_mb: float
    ) -> tuple[Tensors, dict[str, Any]]:
        """Runs a step; returns the weights after it and the content of `step-N.json`, its costs and scores.

        `stored_mb` is what the steps before it stored. A killed attempt at this step may have stored its part already.
        """
        domain = self.experiment.order[number - 1]
        memory = self.folder.memory(method.name, seed)
        began = time.perf_counter()
        reset_peak_memory()
        fine_tuner = self.fine_tuner(domain, step_seed(seed, number), is_distilled=method.name != REFERENCE)
        step = Step(
            number=number,
            domain=domain,
            bundle=self._bundle,
            base=self.base,
            theta=theta,
            training=self.examples.of(domain),
            earlier=self._earlier(number),
            memory=memory,
            finetune=fine_tuner,
            learning_rate=self.settings.learning_rate,
            seed=seed,
            general=self._distillation_set,
        )
        try:
            result = method.function(step, **{**method.settings, **self.experiment.settings.get(method.name, {})})
        except BundleError as error:  # of a file in `memory`: nothing else is read during a step
            raise to_delete(error, self.folder.cell(method.name, seed)) from error
        theta = dict(result.theta if isinstance(result, Mixture) else result)
        record = {
            "domain": domain,
            "seconds": time.perf_counter() - began + fine_tuner.saved_s,
            "stored_mb": max(0.0, _size(memory) / 1e6 - stored_mb),
            "peak_gb": max(peak_memory_mb() / 1e3, fine_tuner.peak_gb),
            "errors": self.scorer.score(result, self.experiment.all_domains if method.is_one_model else [domain]),
        }
        return theta, record

    def _earlier(self, number: int) -> list[list[TrainingUtterance]]:
        """The examples of each domain before a step; first those of the base's own domain, if any."""
        of_base = [name for name in self._base_domain() if self._domains[name].training]
        return [self.examples.of(name) for name in [*of_base, *self.experiment.order[: number - 1]]]

    def _base_domain(self) -> list[str]:
        return [self.experiment.base_domain] if self.experiment.base_domain else []

    def fine_tuner(self, domain: str, seed: int, *, is_distilled: bool = True, is_shared: bool = True) -> FineTuner:
        """Returns a function that fine-tunes with the experiment's settings.

        Args:
            domain: the name of the domain.
            seed: the seed of the fine-tuning.
            is_distilled: with distillation on general speech, as in `asr-edge adapt`.
            is_shared: store a fine-tuning of the base that other methods need too, or read it.
        """
        return FineTuner(
            bundle=self._bundle,
            base=self.base,
            settings=replace(self.settings, seed=seed),
            distillation_set=self._distillation_set if is_distilled else (),
            domain=domain,
            examples=self.examples.of(domain),
            folder=self.folder.fine_tunings if is_shared else None,
        )


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(record).encode())


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
