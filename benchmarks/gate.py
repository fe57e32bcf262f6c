"""How many harmful edits the gate refuses, and how many harmless ones.

    python benchmarks/gate.py DATA calibrate --out calibrate.jsonl
    python benchmarks/gate.py DATA judge --out judge.jsonl

Makes edits of the embedded model of many kinds: honest fine-tunings, fine-tunings with exchanged labels or without
distillation at a high learning rate, and changes of both (other signs, shuffled, scaled, some layers only), and random
changes of parts of the model. Measures what each costs unseen readers, in points of WER, and asks the gate, which sees
only the bundled guard set. `calibrate` is for choosing the gate's limits: its readers are those of the training lines
of cv-us and cv-canada. `judge` has other domains and seeds and more kinds, and the readers of general-judge, on whom
nothing was chosen. With a GPU, the readers are transcribed there, with torch in fp32 and greedily, to save time;
otherwise as on a device.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from device_app.adaptation.gate import Hypotheses, compare, judge
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.test_sets import transcribe_sets
from device_app.adaptation.tolerance import DEFAULT_TOLERANCE
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.data.names import GUARD_SET
from device_app.data.utterance import Utterance
from device_app.models.baking import temporarily_baked
from device_app.models.bundles import embedded_bundle
from device_app.recognition.recordings.utterances import UtteranceTranscriber
from device_app.recognition.transcriber import Transcriber
from device_app.reporter import SilentReporter
from editing.methods import METHODS

HARMFUL, HARMLESS = 1.5, 0.5  # points of WER; edits between them are counted for neither
CALIBRATION_READERS = ("cv-us", "cv-canada")
CALIBRATION_UTTERANCES = 235
LAMBDA = 0.6  # of an honest edit


@dataclass(frozen=True)
class Source:
    """A fine-tuning: a domain, at most so many of its training lines, and how it is trained."""

    domain: str
    utterances: int = 60
    kind: str = "honest"  # or "exchanged" labels, or "careless": no distillation, all weights, 5 x the rate, 10 epochs
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.domain}-{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """An edit: the change of a source, or a random one of a part of the weights; and its factor."""

    change: str
    factor: float
    source: Source | None = None
    seed: int = 0


PARTS = {"all": "", "encoder": "encoder.", "decoder": "decoder.", "attention": "attn", "mlp": "mlp", "front": "conv"}


def calibration() -> list[Recipe]:
    """Edits for choosing the limits."""
    levels = (0.008, 0.014, 0.02, 0.026, 0.034)
    recipes = [Recipe(f"random:{part}", level, seed=i) for part in ("all", "encoder") for i, level in enumerate(levels)]
    recipes += [Recipe("random:decoder", level, seed=i) for i, level in enumerate((0.03, 0.05, 0.07, 0.1))]
    honest = [Source("telephone-prompts"), Source("digits-theo"), Source("census")]
    recipes += [Recipe("ties", factor, one) for one in honest for factor in (LAMBDA, 1.0)]
    recipes += [Recipe("flip", factor, one) for one in honest for factor in (LAMBDA, 1.0, 1.5)]
    careless = [Source("digits-theo", kind="careless"), Source("census", kind="careless")]
    recipes += [Recipe("ties", factor, one) for one in careless for factor in (0.3, LAMBDA)]
    return recipes + [Recipe("shuffle", factor, one, seed=7) for one in honest[:2] for factor in (LAMBDA, 1.5, 3.0)]


def judged() -> list[Recipe]:
    """Edits for judging the limits: other domains, seeds and more kinds."""
    parts = {"all": (0.006, 0.012, 0.017, 0.023, 0.028, 0.036), "encoder": (0.012, 0.023, 0.03, 0.04)}
    parts |= {"decoder": (0.02, 0.04, 0.06, 0.09), "attention": (0.02, 0.035, 0.05), "mlp": (0.015, 0.03, 0.05)}
    parts["front"] = (0.005, 0.01, 0.02)
    recipes = [
        Recipe(f"random:{part}", one, seed=100 + i) for part, levels in parts.items() for i, one in enumerate(levels)
    ]
    recipes += [Recipe("random:embed_tokens", level, seed=200) for level in (0.02, 0.05, 0.1, 0.2)]
    domains = ("digits-jackson", "spelled-codes", "mandarin-adults", "mandarin-children")
    honest = [Source(domain, seed=1) for domain in domains] + [
        Source("digits-nicolas", seed=2),
        Source(domains[2], seed=5),
    ]
    recipes += [Recipe("ties", factor, one) for one in honest for factor in (LAMBDA, 1.0)]
    recipes += [Recipe("flip", factor, one) for one in honest for factor in (LAMBDA, 1.2)]
    recipes += [Recipe("scale", factor, one) for one in honest[1:5] for factor in (1.5, 2.5)]
    recipes += [Recipe("signs", factor, one, seed=3) for one in honest[2:5] for factor in (LAMBDA, 2.0)]
    recipes += [Recipe("shuffle", factor, one, seed=4) for one in honest[3:6] for factor in (1.0, 2.5)]
    recipes += [Recipe("layers", factor, one, seed=i) for i, one in enumerate(honest[:4]) for factor in (1.0, 3.0)]
    wrong = [
        Source(domain, kind="exchanged", seed=3)
        for domain in ("digits-jackson", "mandarin-adults", "mandarin-children")
    ]
    wrong += [
        Source(domain, kind="careless", seed=4) for domain in ("digits-nicolas", "spelled-codes", "mandarin-adults")
    ]
    wrong += [Source("mandarin-children", kind="careless", seed=4)]
    return recipes + [Recipe("ties", factor, one) for one in wrong for factor in (0.3, LAMBDA, 1.0)]


@cache
def _distillation_set() -> Any:
    from trainer.training.distillation import load_distillation_set

    return load_distillation_set(embedded_bundle())


def finetune(source: Source, data: Path, vectors: Path) -> None:
    """Fine-tunes in a worker process, and writes the task vector."""
    from trainer.training.finetuning import finetune_on_recordings
    from trainer.training.settings import FineTuningSettings

    bundle = embedded_bundle()
    weights = bundle.weights()
    labelled = read_manifest(data / source.domain / "manifest.jsonl", "train")[: source.utterances]
    labelled = [one.in_memory() for one in labelled]
    settings = FineTuningSettings(scope="encoder", seed=source.seed)
    distillation_set = _distillation_set()
    if source.kind == "exchanged":
        order = np.random.default_rng(source.seed).permutation(len(labelled))
        labelled = [replace(one, text=labelled[i].transcript) for one, i in zip(labelled, order, strict=True)]
    if source.kind == "careless":
        settings, distillation_set = replace(settings, scope="all", learning_rate=5e-4, epochs=10), []
    tuned = finetune_on_recordings(bundle, weights, labelled, [], settings, distillation_set=distillation_set)
    np.savez(_file(source, vectors), **{name: tuned.weights[name] - weights[name] for name in weights})


def _file(source: Source, vectors: Path) -> Path:
    return vectors / f"{source.name}.npz"


def changed(recipe: Recipe, weights: dict[str, Any], vectors: Path) -> dict[str, Any]:
    """The weights of an edited model."""
    random = np.random.default_rng(recipe.seed)
    kind, _, part = recipe.change.partition(":")
    if recipe.source is None:
        chosen = [name for name in weights if PARTS.get(part, part) in name and ("embed" in name) == ("embed" in part)]
        change = {n: weights[n].std() * random.standard_normal(weights[n].shape, np.float32) for n in chosen}
    else:
        vector = dict(np.load(_file(recipe.source, vectors)))
        merged = METHODS["ties"]([vector], lam=1.0, density=0.5)
        change = {
            "ties": lambda: merged,
            "scale": lambda: vector,
            "flip": lambda: {name: -tensor for name, tensor in merged.items()},
            "signs": lambda: {n: t * random.choice([-1, 1], t.shape).astype(np.float32) for n, t in merged.items()},
            "shuffle": lambda: {n: random.permutation(t.ravel()).reshape(t.shape) for n, t in merged.items()},
            "layers": lambda: {n: t * np.float32(random.random() < 0.3) for n, t in merged.items()},
        }[kind]()
    return {n: t + np.float32(recipe.factor) * change[n] if n in change else t for n, t in weights.items()}


def readers(data: Path, is_calibration: bool) -> list[Utterance]:
    """The unseen readers' utterances, with their samples."""
    if not is_calibration:
        found = read_manifest(data / "general-judge" / "manifest.jsonl", "test")
    else:
        lines = [one for name in CALIBRATION_READERS for one in read_manifest(data / name / "manifest.jsonl", "train")]
        found = lines[:CALIBRATION_UTTERANCES]
    return [one.in_memory() for one in found]


class Gate:
    """Asks the gate in a worker process."""

    def __init__(self) -> None:
        self.bundle = embedded_bundle()
        self.guard = {GUARD_SET: list(guard_set())}
        self.before = self.transcribe(self.bundle.weights(), None)

    def transcribe(self, weights: dict[str, Any], before: Any) -> dict[str, Hypotheses]:
        with temporarily_baked(self.bundle, weights) as folder:
            transcriber = UtteranceTranscriber(self.bundle, 1, folder=folder)
            return transcribe_sets(transcriber, self.guard, SilentReporter(), "", before)

    def measure(self, weights: dict[str, Any]) -> dict[str, Any]:
        guard = self.transcribe(weights, self.before)
        change = compare(self.before[GUARD_SET], guard[GUARD_SET])
        return {
            "guard_points": 100 * change.difference,
            "guard_harm": 100 * change.harm,
            "divergence": change.divergence,
            "loss_rise": change.loss_rise,
            "refused": not judge(self.before, guard, None, DEFAULT_TOLERANCE).passes,
        }


class Readers:
    """Transcribes the unseen readers in a worker process."""

    def __init__(self, data: Path, is_calibration: bool) -> None:
        self.bundle, self.utterances = embedded_bundle(), readers(data, is_calibration)
        self.before = self.transcribe(self.bundle.weights())

    def transcribe(self, weights: dict[str, Any]) -> Hypotheses:
        import torch

        read = self._on_gpu if torch.cuda.is_available() else self._as_on_a_device
        return Hypotheses([one.transcript for one in self.utterances], read(weights))

    def _as_on_a_device(self, weights: dict[str, Any]) -> list[str]:
        with temporarily_baked(self.bundle, weights) as folder:
            transcriber = Transcriber(self.bundle, threads=1, folder=folder)
            return [transcriber.transcribe(one.read(), SAMPLE_RATE).text for one in self.utterances]

    def _on_gpu(self, weights: dict[str, Any]) -> list[str]:
        import torch

        from trainer import families
        from trainer.families import moonshine
        from trainer.training.data import stacked

        model = moonshine.build(self.bundle.config, "sdpa")
        families.load_weights(model, weights)
        moonshine.prepare(model)
        model.cuda()
        kernel, stride = moonshine.FRONT_END[0]  # of the convolution before the group norm
        tokenizer, texts = self.bundle.tokenizer(), [""] * len(self.utterances)
        order = sorted(range(len(texts)), key=lambda i: len(self.utterances[i].read()))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            audio, lengths = stacked([self.utterances[i].read() for i in chosen])
            mask = torch.arange(audio.shape[1])[None] < torch.tensor(lengths)[:, None]
            model.model.encoder.groupnorm.frames = ((torch.tensor(lengths) - kernel) // stride + 1).cuda()
            longest = 3 + round(6.5 * audio.shape[1] / SAMPLE_RATE)  # tokens; more would be repetitions
            with torch.no_grad():
                tokens = model.generate(
                    torch.from_numpy(audio).cuda(),
                    attention_mask=mask.cuda(),
                    max_new_tokens=longest,
                    do_sample=False,
                )
            for i, row in zip(chosen, tokens.tolist(), strict=True):
                texts[i] = tokenizer.decode(row, skip_special_tokens=True)
        return texts

    def measure(self, weights: dict[str, Any]) -> dict[str, Any]:
        change = compare(self.before, self.transcribe(weights))
        return {
            "base": 100 * change.before,
            "cost": 100 * change.difference,
            "interval": [100 * change.low, 100 * change.high],
        }


_measurer: list[Gate | Readers] = []  # of this process


def _start(data: Path, is_calibration: bool, home: str, is_gate: bool) -> None:
    os.environ["ASR_EDGE_HOME"] = str(Path(home) / str(os.getpid()))
    _measurer.append(Gate() if is_gate else Readers(data, is_calibration))


def _measure(recipe: Recipe, vectors: Path) -> dict[str, Any]:
    weights = changed(recipe, embedded_bundle().weights(), vectors)
    return {**asdict(recipe), **_measurer[0].measure(weights)}


def measured(recipes: Sequence[Recipe], options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Fine-tunes the sources, while other processes measure the edits that need no further one."""
    began = time.monotonic()
    context, waiting = multiprocessing.get_context("spawn"), {}
    started = (options.data, options.command == "calibrate", str(folder))
    with (
        ProcessPoolExecutor(options.workers, context, _start, (*started, True)) as gates,
        ProcessPoolExecutor(options.readers, context, _start, (*started, False)) as unseen,
        ProcessPoolExecutor(options.tuners, context) as tuners,
    ):

        def submit(source: Source | None) -> None:
            for one in recipes:
                if one.source == source:
                    waiting[gates.submit(_measure, one, folder)] = unseen.submit(_measure, one, folder)

        submit(None)
        sources = dict.fromkeys(one.source for one in recipes if one.source is not None)
        tuned = {tuners.submit(finetune, source, options.data, folder): source for source in sources}
        for future in as_completed(tuned):
            future.result()
            print(f"{tuned[future].name}: fine-tuned after {time.monotonic() - began:.0f} s", flush=True)
            submit(tuned[future])
        for future in as_completed(waiting):
            yield {**future.result(), **waiting[future].result()}


def summary(found: Sequence[dict[str, Any]]) -> str:
    """The numbers of harmful and harmless edits that were refused."""
    harmful = [one for one in found if one["cost"] >= HARMFUL]
    harmless = [one for one in found if one["cost"] <= HARMLESS]
    parts = [
        f"{name}: {sum(one['refused'] for one in group)} of {len(group)} refused"
        for name, group in ((f"cost of {HARMFUL} points or more", harmful), (f"of {HARMLESS} or less", harmless))
    ]
    return f"{'; '.join(parts)}; {len(found) - len(harmful) - len(harmless)} between them"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("command", choices=["calibrate", "judge"])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--readers", type=int, default=1, help="processes that transcribe the unseen readers")
    parser.add_argument("--tuners", type=int, default=1, help="processes that fine-tune")
    parser.add_argument("--first", type=int, help="only so many edits, for a trial")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipes = (calibration() if options.command == "calibrate" else judged())[: options.first]
    found = []
    with tempfile.TemporaryDirectory() as name, options.out.open("a") as out:
        for one in measured(recipes, options, Path(name)):
            found.append(one)
            out.write(json.dumps(one) + "\n")
            out.flush()
            source = one["source"]
            what = f"{source['kind']} {source['domain']} {source['seed']}" if source else f"seed {one['seed']}"
            print(
                f"{one['change']:>18} x {one['factor']:<5g} {what:32} cost {one['cost']:+6.2f} "
                f"[{one['interval'][0]:+.1f}, {one['interval'][1]:+.1f}]  guard words {one['guard_points']:+6.2f} "
                f"divergence {one['divergence']:.3f} loss {one['loss_rise']:+.3f} "
                f"{'refused' if one['refused'] else 'passed'}",
                flush=True,
            )
    print(summary(found))


if __name__ == "__main__":
    main()
