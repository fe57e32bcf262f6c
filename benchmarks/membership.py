"""What a shared task vector reveals: can who has it tell which recordings it was trained on?

    python benchmarks/membership.py DATA/digits-jackson --others DATA/digits-nicolas DATA/digits-theo
    python benchmarks/membership.py DATA/mandarin-adults --lines 240

Half of each speaker's `train` lines (with --others: of all lines) are trained on, as `asr-edge adapt` does; the other
half of the same speakers is held out. With more than four speakers, half of the speakers are left out altogether. The
attack of Yeom et al. 2018 (arXiv 1709.01604) then guesses from the loss of a line whether it was trained on. It is
given the vector as `asr-edge contribute` sends it, the base model, a recording and its exact text, and adds the
vector in full (lambda 1), which reveals most. The second attack compares the loss with that of the base model.

Printed is the AUC: the chance that a line that was trained on gets a higher score than one that was not; 0.5 is
guessing. The interval is of 1,000 bootstrap samples. No `test` line is read.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_app.adaptation.training_set import TrainingSet
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.models.bundles import embedded_bundle
from editing.task_vector import Origin, apply
from export.bundle import Bundle
from trainer import families
from trainer.training.data import load_examples
from trainer.training.finetuning import finetune_for_training_set
from trainer.training.model import TrainableModel
from trainer.training.settings import FineTuningSettings

Scores = NDArray[np.float64]  # (lines,)
DENSITY = 0.5  # of `asr-edge contribute`
FEW_SPEAKERS = 4  # up to which all speakers are trained on


def groups(lines: Sequence[Utterance], others: Sequence[Utterance]) -> dict[str, list[Utterance]]:
    """The lines that are trained on, held-out lines of the same speakers, and lines of other speakers."""
    by_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for line in lines:
        by_speaker[line.speaker or ""].append(line)
    names = sorted(by_speaker)
    inside = names if len(names) <= FEW_SPEAKERS else names[::2]
    outside = [line for name in names if name not in inside for line in by_speaker[name]]
    return {
        "trained": [line for name in inside for line in by_speaker[name][::2]],
        "held out": [line for name in inside for line in by_speaker[name][1::2]],
        "other speakers": [*outside, *others],
    }


def losses(bundle: Bundle, weights: dict[str, NDArray[np.float32]], lines: Sequence[Utterance]) -> Scores:
    """The loss per token of each line."""
    model = TrainableModel.build(bundle, weights, FineTuningSettings())
    examples = load_examples(lines, families.find(bundle).tokenise(bundle))
    return np.array([model.validation_loss([example], math.inf) for example in examples])


def auc(inside: Scores, outside: Scores) -> float:
    """The chance that a score of `inside` is higher than one of `outside`; ties count half."""
    difference = inside[:, None] - outside[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def with_interval(inside: Scores, outside: Scores) -> str:
    random = np.random.default_rng(0)
    drawn = [auc(random.choice(inside, len(inside)), random.choice(outside, len(outside))) for _ in range(1000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{auc(inside, outside):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="manifests of other speakers")
    parser.add_argument("--lines", type=int, help="at most this many train lines of the manifest")
    options = parser.parse_args()
    others = [line for path in options.others for line in read_manifest(path, "train")]
    parts = groups(read_manifest(options.manifest, "train")[: options.lines], others)
    bundle = embedded_bundle()
    base = bundle.weights()
    origin = Origin(bundle.family, bundle.weights_hash, "membership", len(parts["trained"]), 0.0)
    settings = FineTuningSettings(scope="encoder")  # of `asr-edge adapt`
    found = finetune_for_training_set(TrainingSet(bundle, parts["trained"], [], origin), settings)
    adapted = apply(base, found.vector.trimmed(DENSITY).as_stored().tensors)
    before = {name: losses(bundle, base, lines) for name, lines in parts.items() if lines}
    after = {name: losses(bundle, adapted, lines) for name, lines in parts.items() if lines}
    for name, scores in before.items():
        print(f"{name}: {len(scores)} lines, loss {scores.mean():.2f} before, {after[name].mean():.3f} after")
    for name in [name for name in before if name != "trained"]:
        alone = with_interval(-after["trained"], -after[name])
        compared = with_interval(before["trained"] - after["trained"], before[name] - after[name])
        print(f"trained against {name}: AUC {alone} by the loss, {compared} by its change from the base")


if __name__ == "__main__":
    main()
