"""How much of earlier edits' signs to keep: WER on training utterances by the share of `editing.interference`.

    python benchmarks/interference.py benchmarks/lifelong/real.toml real --shares 0 0.1 0.2 0.35

Takes the merged vectors that `asr-edge lifelong run CONFIG --out RUN` stored for a method, removes the interference of
each with those before it, and adds them again: no fine-tuning. A vector is trimmed before that, not after it as in
`adapt`, and later fine-tunings do not start from the other weights, so the figures only compare shares. Scores some
training utterances of each domain, and general speech: the bundled distillation set, which every vector was trained
with, and the guard set, which none was. WER is `basic`, of the int8 model, in per cent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from device_app.adaptation import guard_set
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.models.bundles import EMBEDDED_NAME, find_bundle
from editing.interference import without_interference
from editing.method import Tensors
from editing.task_vector import TaskVector, apply
from trainer.lifelong.config import read_experiment
from trainer.lifelong.metrics import wer
from trainer.lifelong.preparation import Domain, load_domains
from trainer.lifelong.run_folder import RunFolder
from trainer.lifelong.scoring import Scorer
from trainer.training import distillation


def some(utterances: Sequence[Utterance], count: int) -> Domain:
    """At most `count` utterances, evenly spaced, as the test part of a domain."""
    places = np.linspace(0, len(utterances) - 1, min(count, len(utterances))).astype(int)
    return Domain([], [utterances[place] for place in places])


def total(base: Tensors, vectors: Sequence[Tensors], share: float) -> Tensors:
    """The base with all merged vectors, each without interference with those before it."""
    weights = base
    for vector in vectors:
        earlier = {name: weights[name] - base[name] for name in base}
        weights = apply(weights, without_interference(vector, earlier, share) if share else vector)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--method", default="ties")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.1, 0.2, 0.35])
    parser.add_argument("--utterances", type=int, default=40, help="of each domain")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()

    experiment = read_experiment(options.config)
    loaded = load_domains(experiment)
    domains = {name: some(loaded[name].training, options.utterances) for name in experiment.order}
    for folder in (distillation.FOLDER, guard_set.FOLDER):
        domains[folder.name] = Domain([], list(read_manifest(folder)))
    bundle = find_bundle(experiment.base or EMBEDDED_NAME)
    scorer = Scorer(bundle, domains, options.threads)
    memory = RunFolder(options.run).memory(options.method, options.seed)
    vectors = [
        TaskVector.load(memory / f"{number}.safetensors").tensors for number in range(1, len(experiment.order) + 1)
    ]
    print("share | average | " + " | ".join(domains))
    for share in options.shares:
        found = scorer.score(total(bundle.weights(), vectors, share), list(domains))
        rates = {name: 100 * wer(errors) for name, errors in found.items()}
        average = np.mean([rates[name] for name in experiment.order])
        print(f"{share:g} | {average:.2f} | " + " | ".join(f"{rate:.1f}" for rate in rates.values()), flush=True)


if __name__ == "__main__":
    main()
