"""The size of stored task vectors with codes of four and of eight bits, and the WER with each.

    python benchmarks/vector_size.py DATA digits-jackson spelled-codes mandarin-adults

Fine-tunes on the `train` lines of each domain, with the settings of `asr-edge adapt` and the seed 0, and stores the
same vector twice. WER is `basic`, of the int8 model with the vector merged by TIES (0.6, 0.5), on the `test` lines.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_app.adaptation.gate import Hypotheses, compare
from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.models.baking import temporarily_baked
from device_app.models.bundles import embedded_bundle
from device_app.recognition.transcriber import Transcriber
from editing.methods import METHODS
from editing.task_vector import Origin, TaskVector, apply
from editing.vector_file.encoding import decode, encode


def vector(data: Path, domain: str) -> TaskVector:
    """The task vector of a domain, not rounded."""
    from trainer.training.distillation import load_distillation_set
    from trainer.training.finetuning import finetune_on_recordings
    from trainer.training.settings import FineTuningSettings

    bundle = embedded_bundle()
    weights = bundle.weights()
    lines = [one.in_memory() for one in read_manifest(data / domain / "manifest.jsonl", "train")]
    settings, distillation_set = FineTuningSettings(scope="encoder"), load_distillation_set(bundle)
    tuned = finetune_on_recordings(bundle, weights, lines, [], settings, distillation_set=distillation_set)
    origin = Origin(family=bundle.family, base=bundle.weights_hash, domain=domain)
    return TaskVector.difference(tuned.weights, weights, origin)


def hypotheses(data: Path, domain: str, path: Path) -> Hypotheses:
    """Of the test lines, with the vector of a file."""
    os.environ["ASR_EDGE_HOME"] = f"{path}.home"
    bundle = embedded_bundle()
    merged = METHODS["ties"]([TaskVector.load(path).tensors], lam=0.6, density=0.5)
    test = read_manifest(data / domain / "manifest.jsonl", "test")
    with temporarily_baked(bundle, apply(bundle.weights(), merged)) as folder:
        transcriber = Transcriber(bundle, threads=1, folder=folder)
        texts = [transcriber.transcribe(one.read(), SAMPLE_RATE).text for one in test]
    return Hypotheses([one.transcript for one in test], texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("domains", nargs="+")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        tasks: list[tuple[str, list[Path], list[Any]]] = []
        for domain in options.domains:
            found = vector(options.data, domain)
            eight = replace(
                found, tensors={name: decode(encode(tensor), tensor.shape) for name, tensor in found.tensors.items()}
            )
            paths = [Path(name) / f"{domain}-{bits}.safetensors" for bits in (8, 4)]
            eight.save(paths[0])
            found.as_stored().save(paths[1])
            tasks.append((domain, paths, [pool.apply_async(hypotheses, (options.data, domain, one)) for one in paths]))
        for domain, paths, results in tasks:
            change = compare(*(one.get() for one in results))
            sizes = [path.stat().st_size / 1e6 for path in paths]
            print(
                f"{domain}: {sizes[0]:.2f} MB, WER {change.before:.2%}; {sizes[1]:.2f} MB, {change.after:.2%}; "
                f"{100 * change.difference:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}] points",
                flush=True,
            )


if __name__ == "__main__":
    main()
