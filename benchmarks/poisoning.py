"""Poisoning of a fleet's merge with real task vectors: what is left out, and what an offered merge costs the others.

    python benchmarks/poisoning.py DATA --cache FOLDER --results FILE.jsonl
    python benchmarks/poisoning.py DATA --cache FOLDER --results FILE.jsonl --group-speech

Nine devices: three for each speaker of digits-jackson, -nicolas and -theo, each with `train` lines of its own (18, or
--lines), fine-tuned as `asr-edge adapt` does and trimmed as `asr-edge contribute` does. 6 other `train` lines of each
speaker are the group's held-out speech (with --group-speech). The host merges by `merge_fleet` with its defaults. One
or two devices, of different speakers, then send a poisoned vector; they know the rules, the base and all vectors.

Written for each speaker is the WER (int8, `basic`) of the `test` lines with the offered vector, added as `asr-edge
fleet pull` does, and its difference from that with the honest devices' vectors alone, with the 95 % interval of a
paired bootstrap. A change as small as that of a stored vector's rounding already changes the WER of digits-nicolas by
up to 3 points. Each WER is therefore the mean over --copies of the model, with different noise of that size. The cache
keeps the fine-tunings; a result that the file already has is not measured again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import intervals
import numpy as np
from numpy.typing import NDArray
from poisoning_attacks import ATTACKS, DENSITY, Attacker

from device_app.adaptation.gate import Hypotheses
from device_app.adaptation.settings import MergeSettings
from device_app.adaptation.test_sets import scaled_sum, transcribe_sets, transcribe_sets_with
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.evaluation.orthography import in_model_style
from device_app.execution import ExecutionContext
from device_app.models.bundles import embedded_bundle
from device_app.recognition.transcriber import Transcriber
from device_app.remote.fleet import PULL_LAMBDA
from editing.errors import BadInputError
from editing.method import Tensors
from editing.methods import METHODS
from editing.sparsify import Array
from editing.task_vector import Origin, TaskVector
from export.bundle import Bundle
from trainer.host.contributions import accept_contribution, incoming_file, vector_file
from trainer.host.fleet import scoring
from trainer.host.fleet.merge import MIN_DEVICES, Candidates, leave_out_unusual, merge_fleet
from trainer.host.fleet.report import AssessedContribution, Report
from trainer.host.fleet.score_set import add_speech
from trainer.host.keys import make_keys
from trainer.host.server import host_folder, open_database
from trainer.training.distillation import load_distillation_set
from trainer.training.finetuning import finetune_on_recordings
from trainer.training.settings import FineTuningSettings

SPEAKERS = ("jackson", "nicolas", "theo")
DEVICES_OF_SPEAKER = 3
HELD_OUT = 6  # train lines of each speaker that no device trains on
ATTACKERS = ("jackson-0", "nicolas-0")
TOLERANCE = 0.01  # of `asr-edge host fleet merge`
SWAPPED = {"two": "six", "six": "two"}
CONTEXT = ExecutionContext(threads=1)
NOISE = 0.01  # its norm, as a fraction of each tensor's: about the rounding error of eight bits
Vectors = Mapping[str, TaskVector]
Counts = NDArray[np.int64]  # (utterances, 2): word errors and words


# The devices


def lines_of(data: Path, count: int) -> tuple[dict[str, list[Utterance]], list[Utterance]]:
    """The training lines of each device, and the group's held-out speech."""
    devices, held_out = {}, []
    for speaker in SPEAKERS:
        lines = read_manifest(data / f"digits-{speaker}" / "manifest.jsonl", "train")
        held_out += lines[:HELD_OUT]
        for number in range(DEVICES_OF_SPEAKER):
            devices[f"{speaker}-{number}"] = list(lines[HELD_OUT + number :: DEVICES_OF_SPEAKER])[:count]
    return devices, held_out


def finetuned(
    bundle: Bundle, weights: Mapping[str, Array], lines: Sequence[Utterance], epochs: int | None
) -> TaskVector:
    """A contribution: fine-tuned with the defaults of `asr-edge adapt`, and trimmed."""
    transcriber = Transcriber(bundle, threads=1)
    hypotheses = [transcriber.transcribe(one.read(), SAMPLE_RATE).text for one in lines]
    texts = in_model_style([one.transcript for one in lines], hypotheses)
    training = [replace(one.in_memory(), text=text) for one, text in zip(lines, texts, strict=True)]
    settings = FineTuningSettings(scope="encoder", epochs=epochs)
    tuned = finetune_on_recordings(
        bundle, weights, training, [], settings, distillation_set=load_distillation_set(bundle)
    )
    origin = Origin(bundle.family, bundle.weights_hash, "", utterances=len(lines))
    return TaskVector.difference(tuned.weights, weights, origin).trimmed(DENSITY)


def swapped_labels(lines: Sequence[Utterance]) -> list[Utterance]:
    return [replace(one, text=" ".join(SWAPPED.get(word, word) for word in one.transcript.split())) for one in lines]


@dataclass(frozen=True)
class Cache:
    """Vectors that were computed before, by name."""

    folder: Path

    def get(self, name: str, compute: Callable[[], TaskVector]) -> TaskVector:
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            compute().save(path)
            print(f"{name}: fine-tuned", flush=True)
        return TaskVector.load(path)


def ties(vectors: Iterable[TaskVector]) -> Tensors:
    return METHODS["ties"]([one.tensors for one in vectors], lam=1.0)


@dataclass(frozen=True)
class Devices:
    """The nine devices: their lines, and how they fine-tune."""

    cache: Cache
    bundle: Bundle
    lines: Mapping[str, Sequence[Utterance]]
    epochs: int | None

    def honest(self) -> dict[str, TaskVector]:
        base = self.bundle.weights()
        return {name: self._vector(name, base, lines) for name, lines in self.lines.items()}

    def attackers(self, honest: Vectors) -> dict[str, Attacker]:
        """What each attacker has."""
        base, others = self.bundle.weights(), [one for name, one in honest.items() if name not in ATTACKERS]
        edited = scaled_sum(base, ties(honest.values()), 1.0)
        return {
            name: Attacker(
                number,
                honest[name],
                self._vector(f"{name}-swapped", base, swapped_labels(self.lines[name])),
                self._vector(f"{name}-stale", edited, self.lines[name]),
                others,
            )
            for number, name in enumerate(ATTACKERS)
        }

    def _vector(self, name: str, weights: Tensors, lines: Sequence[Utterance]) -> TaskVector:
        return self.cache.get(name, lambda: finetuned(self.bundle, weights, lines, self.epochs))


# The merges


def merged(bundle: Bundle, vectors: Vectors, held_out: Path | None) -> tuple[Report, TaskVector | None]:
    """The host's report, and the vector that it offers, if any."""
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, ASR_EDGE_HOME=home):
        keys, database, folder = make_keys(host_folder(), ["localhost"]), open_database(), host_folder()
        for name, vector in vectors.items():
            database.add_device(name, "crew")
            device = next(one for one in database.devices() if one.name == name)
            path = incoming_file(folder, device.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = vector.to_bytes()
            path.write_bytes(data)
            accept_contribution(database, folder, device, "crew", hashlib.sha256(data).hexdigest(), path)
        if held_out is not None:
            add_speech(folder, "crew", held_out)
        report = merge_fleet(
            database, folder, keys, "crew", bundle, MergeSettings(), tolerance=TOLERANCE, context=CONTEXT
        )
        return report, TaskVector.load(vector_file(folder, report.vector)) if report.vector else None


def remembered(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which computes what it is asked for again only once: most merges are of the same vectors."""
    known: dict[Any, Any] = {}

    def call(*arguments: Any) -> Any:
        at = key(*arguments)
        if at not in known:
            known[at] = function(*arguments)
        return known[at]

    return call


def with_noise(change: Tensors, seed: int) -> Tensors:
    """The change with noise in each of its tensors."""
    random = np.random.default_rng(seed)

    def noise(tensor: Array) -> Array:
        size = NOISE * float(np.linalg.norm(tensor)) / np.sqrt(max(1, tensor.size))
        return random.standard_normal(tensor.shape, np.float32) * np.float32(size)

    return {name: tensor + noise(tensor) for name, tensor in change.items()}


def digest(weights: Tensors) -> str:
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(np.ascontiguousarray(weights[name]))
    return found.hexdigest()


class Trials:
    """Merges with and without attackers, measured on the speakers' test lines."""

    def __init__(self, data: Path, results: Path, held_out: Path | None, copies: int, test_lines: int | None) -> None:
        self.bundle, self._results, self._held_out, self._copies = embedded_bundle(), results, held_out, copies
        self._theta = self.bundle.weights()
        self._tests = {
            one: read_manifest(data / f"digits-{one}" / "manifest.jsonl", "test")[:test_lines] for one in SPEAKERS
        }
        self._transcribe = remembered(transcribe_sets_with, lambda weights, _bundle, sets, *_: (digest(weights), *sets))
        before = remembered(transcribe_sets, lambda _transcriber, sets, *_: tuple(sets))
        patch.object(scoring, "transcribe_sets_with", self._transcribe).start()
        patch.object(scoring, "transcribe_sets", before).start()

    def counts(self, change: Tensors) -> Mapping[str, Counts]:
        """Of each speaker's test lines, on devices that pulled this vector: sums over the copies."""
        found: list[Mapping[str, Hypotheses]] = []
        for number in range(self._copies):
            weights = scaled_sum(self._theta, with_noise(change, number), PULL_LAMBDA)
            found.append(self._transcribe(weights, self.bundle, self._tests, CONTEXT, "", {}))
        return {speaker: np.sum([each[speaker].counts for each in found], axis=0) for speaker in SPEAKERS}

    def is_known(self, name: str) -> bool:
        lines = self._results.read_text("utf-8").splitlines() if self._results.is_file() else []
        return any(json.loads(line)["name"] == name for line in lines)

    def write(self, name: str, record: Mapping[str, object]) -> None:
        line = json.dumps({"name": name, **record})
        with self._results.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)

    def measure(self, name: str, vectors: Vectors, honest: Vectors) -> None:
        """Merges, and compares the offered vector with the merge of the honest devices' vectors.

        If the rules of norms and directions leave out all others, the merge is the same, and is not computed again.
        """
        judged = [AssessedContribution(device, "") for device in vectors]
        found = Candidates(judged, dict(vectors))
        with contextlib.suppress(BadInputError):
            refused = leave_out_unusual(found, "", MIN_DEVICES)
            if not refused and vectors.keys() != honest.keys() and found.vectors.keys() == honest.keys():
                self.write(name, {"merged": "the honest vectors", "left_out": reasons_of(judged)})
                return
        expected = self.counts(ties(honest.values()))
        try:
            report, offered = merged(self.bundle, vectors, self._held_out)
        except BadInputError as error:
            self.write(name, {"offered": False, "reasons": [str(error)]})
            return
        record = {
            "offered": offered is not None,
            "reasons": list(report.reasons),
            "left_out": reasons_of(report.judged),
            "norms": {one.device: round(one.norm, 3) for one in report.judged},
            "cosines": {one.device: round(one.cosine, 2) for one in report.judged},
        }
        if offered is not None:
            record["points"] = differences(expected, self.counts(offered.tensors))
        self.write(name, record)


def reasons_of(judged: Sequence[AssessedContribution]) -> dict[str, str]:
    """Why vectors are left out, by device."""
    return {one.device: one.left_out or f"a copy of {one.copy_of}'s" for one in judged if one.left_out or one.copy_of}


def differences(expected: Mapping[str, Counts], found: Mapping[str, Counts]) -> dict[str, list[float]]:
    """For each speaker: WER as expected and as found, the difference and its 95 % interval, in percentage points."""
    points = {}
    for speaker, old in expected.items():
        new = found[speaker]
        before, after = (float(one[:, 0].sum() / one[:, 1].sum()) for one in (old, new))
        values = (before, after, after - before, *intervals.difference(old, new))
        points[speaker] = [round(100 * value, 2) for value in values]
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the fine-tuned vectors")
    parser.add_argument("--results", type=Path, required=True, help="the file to add results to, JSON lines")
    parser.add_argument("--group-speech", action="store_true", help="the host has held-out speech of the group")
    parser.add_argument("--attackers", type=int, nargs="*", default=[1, 2], choices=[1, 2])
    parser.add_argument("--lines", type=int, help="training lines of a device", default=18)
    parser.add_argument("--copies", type=int, default=4, help="of each model, for the mean")
    parser.add_argument("--test-lines", type=int, help="test lines of each speaker; by default all")
    parser.add_argument("--epochs", type=int, help="of each fine-tuning; by default as `asr-edge adapt`")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    lines, held_out = lines_of(options.data, options.lines)
    bundle = embedded_bundle()
    devices = Devices(Cache(options.cache), bundle, lines, options.epochs)
    honest = devices.honest()
    attackers = devices.attackers(honest)
    manifest = options.cache / "held-out.jsonl"
    records = [{"audio": str(one.file.resolve()), "text": one.transcript} for one in held_out]
    manifest.write_text("".join(f"{json.dumps(one)}\n" for one in records), "utf-8")
    trials = Trials(
        options.data, options.results, manifest if options.group_speech else None, options.copies, options.test_lines
    )
    suffix = ", group's speech" if options.group_speech else ""
    mean = METHODS["task_arithmetic"]([one.tensors for one in honest.values()], lam=1 / len(honest))
    unchanged = {name: np.zeros_like(tensor) for name, tensor in bundle.weights().items()}
    if not options.group_speech and not trials.is_known("the plain mean"):
        nothing = trials.counts(unchanged)
        trials.write("the plain mean", {"points": differences(nothing, trials.counts(mean))})
        trials.write("ties of all", {"points": differences(nothing, trials.counts(ties(honest.values())))})
    if not trials.is_known(f"nobody{suffix}"):
        trials.measure(f"nobody{suffix}", honest, honest)
    for attack, make in ATTACKS.items():
        for count in options.attackers:
            name = f"{attack}, {count}{suffix}"
            if trials.is_known(name):
                continue
            chosen = ATTACKERS[:count]
            others = {device: vector for device, vector in honest.items() if device not in chosen}
            known = [replace(attackers[device], others=list(others.values())) for device in chosen]
            # Rounded as the host loads them
            poisoned = {device: make(one).as_stored() for device, one in zip(chosen, known, strict=True)}
            trials.measure(name, {**others, **poisoned}, others)


if __name__ == "__main__":
    main()
