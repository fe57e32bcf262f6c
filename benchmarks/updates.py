"""Milliseconds of one update of a fine-tuning on 40 s of speech, with CUDA graphs and without; needs a GPU.

    python benchmarks/updates.py

The speech is the bundled distillation set in batches as in a fine-tuning, read beforehand. Times are medians after the
first epochs, in which the graphs are captured, with the transfer of the audio and the reading of the loss.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest import mock

import torch

from device_app.models.bundles import embedded_bundle
from trainer import families
from trainer.training.data import TrainingUtterance
from trainer.training.distillation import Distillation, load_distillation_set
from trainer.training.distributed import Group
from trainer.training.loader import Loader, plan_updates
from trainer.training.loop import Updater
from trainer.training.model import TrainableModel, build_network
from trainer.training.settings import FineTuningSettings

EPOCHS = 6
TIMED = 2  # the last ones


def milliseconds(
    utterances: list[TrainingUtterance], scope: str, *, is_distilled: bool, uses_graphs: bool
) -> tuple[float, str]:
    """The median of an update; and what was measured."""
    bundle = embedded_bundle()
    settings = FineTuningSettings(scope=scope, epochs=EPOCHS)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = False, True  # as in `loop.finetune`
    model = TrainableModel.build(bundle, bundle.weights(), settings)
    group, half = Group(), len(utterances) // 2
    updates = plan_updates(utterances[:half], settings)
    distillation = None
    if is_distilled:
        lengths = [update.seconds for update in updates]
        teacher = build_network(bundle, bundle.weights(), model.device)
        distillation = Distillation(
            model.family, model.network, teacher, utterances[half:], model.device, seconds=lengths, seed=0
        )
    with mock.patch.object(families, "has_padded_logits", return_value=uses_graphs):
        updater = Updater(model, settings, group, distillation, None)
    loader = Loader(settings, group, model.device, whole_batches=False)
    timed, seconds, losses = [], [], []
    for update, batches in zip(updates, list(loader.read_all(updates)), strict=True):
        torch.cuda.synchronize()
        began = time.perf_counter()
        loss, tokens = updater.update(update, batches, len(updates))
        torch.cuda.synchronize()
        losses.append(loss / tokens)
        if update.epoch > EPOCHS - TIMED and update.seconds > 30:
            timed.append(1e3 * (time.perf_counter() - began))
            seconds.append(update.seconds)
    graphs = updater._graphs
    captured = f"{graphs.captured} graphs{', FAILED' if graphs.has_failed else ''}" if graphs else "eager"
    what = f"{captured}, {len(timed)} updates of {statistics.mean(seconds):.0f} s of speech, last loss {losses[-1]:.4f}"
    return statistics.median(timed), what


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    utterances = [one.in_memory() for one in load_distillation_set(embedded_bundle())]
    print(torch.cuda.get_device_name())
    for is_distilled in (False, True):
        for uses_graphs in (False, True):
            found, what = milliseconds(utterances, "encoder", is_distilled=is_distilled, uses_graphs=uses_graphs)
            print(f"{'with' if is_distilled else 'without'} distillation: {found:.1f} ms ({what})", flush=True)


if __name__ == "__main__":
    main()
