"""Fine-tuning speed and memory, compared with a plain transformers training loop on the same utterances.

    python benchmarks/finetuning.py MANIFEST [--utterances 120] [--rounds 3]

The plain loop: shuffled utterances in padded batches of 8, float32, AdamW, the model's own loss.
Rounds of three epochs alternate between the two, each in its own process, whose peak memory is
measured. Both use the GPU if there is one, and initialise it before the timer starts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from device_app.data.manifest import read_manifest
from device_app.data.utterance import Utterance
from device_app.models.bundles import embedded_bundle

PLAIN_BATCH = 8
EPOCHS = 3  # the fewest that `asr-edge adapt` chooses


def plain(labelled: list[Utterance]) -> float:
    """Seconds of a training loop as in the examples of transformers."""
    import numpy as np
    import torch

    from trainer import families
    from trainer.families import moonshine

    bundle = embedded_bundle()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = moonshine.build(bundle.config, "sdpa")
    families.load_weights(model, bundle.weights())
    model.to(device)
    tokenise = moonshine.tokenise(bundle)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    order = np.random.default_rng(0).permutation(len(labelled))
    model.train()
    began = time.perf_counter()
    for start in [*range(0, len(order), PLAIN_BATCH)] * EPOCHS:
        batch = [labelled[i] for i in order[start : start + PLAIN_BATCH]]
        audio = [torch.from_numpy(one.read()) for one in batch]
        targets = [torch.tensor(tokenise(one.transcript)) for one in batch]
        mask = [torch.ones(len(one), dtype=torch.long) for one in audio]
        pad = torch.nn.utils.rnn.pad_sequence
        labels = pad(targets, batch_first=True, padding_value=-100)
        inputs = {"input_values": pad(audio, True), "attention_mask": pad(mask, True), "labels": labels}
        loss = model(**{name: tensor.to(device) for name, tensor in inputs.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def ours(labelled: list[Utterance]) -> float:
    """Seconds of our fine-tuning of all weights, including voice activity detection, without distillation."""
    import torch

    from trainer import families
    from trainer.training.finetuning import finetune_on_recordings
    from trainer.training.settings import FineTuningSettings

    bundle = embedded_bundle()
    families.find(bundle)  # imports transformers, as `plain` does before its timer starts
    weights = bundle.weights()
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    began = time.perf_counter()
    finetune_on_recordings(bundle, weights, labelled, [], FineTuningSettings(epochs=EPOCHS))
    return time.perf_counter() - began


def measure(loop: Callable[[list[Utterance]], float], labelled: list[Utterance]) -> tuple[float, float]:
    """Runs a loop; returns its seconds and the peak memory of the process in GB."""
    return loop(labelled), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--utterances", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    from device_app.audio.samples import duration_s

    labelled = read_manifest(options.manifest, "train")[: options.utterances]
    audio_s = sum(duration_s(one.file) for one in labelled)
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    for _ in range(options.rounds):
        for name, loop in (("plain", plain), ("ours", ours)):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[name].append(pool.apply(measure, (loop, labelled)))
    for name, runs in found.items():
        seconds = statistics.median(seconds for seconds, _ in runs)
        print(
            f"{name}: {EPOCHS * len(labelled) / seconds:.1f} utterances/s, "
            f"{EPOCHS * audio_s / seconds:.0f} x real time, "
            f"peak {max(peak for _, peak in runs):.2f} GB"
        )


if __name__ == "__main__":
    main()
