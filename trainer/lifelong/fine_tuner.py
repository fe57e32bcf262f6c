"""Fine-tunes for the methods; what several of them need is fine-tuned once and stored in the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from device_app.evaluation.memory import peak_memory_mb
from editing.files import write_atomically
from editing.method import Tensors
from export.bundle import Bundle
from export.weights import write_weights
from trainer.lifelong.run_folder import read_record, read_stored_weights
from trainer.training.data import TrainingUtterance
from trainer.training.loop import finetune
from trainer.training.model import Adapters, Penalty
from trainer.training.settings import FineTuningSettings


@dataclass
class FineTuner:
    """Fine-tunes with an experiment's settings and one seed, as `trainer.lifelong.method.FineTune`.

    Most methods fine-tune the base on the first domain in the same way, and some on every domain. The first of them
    stores the weights; the others read them.

    Attributes:
        bundle: the base.
        base: its weights.
        settings: with the seed.
        distillation_set: general speech, on which the outputs of the base are kept; empty for no distillation.
        domain: the name of a domain.
        examples: its training utterances; a fine-tuning of the base on exactly these is stored.
        folder: for the stored weights; None to store and read none.
        saved_s: seconds that the stored fine-tunings took, of those that were read.
        peak_gb: the peak memory of these, in GB.
    """

    bundle: Bundle
    base: Tensors
    settings: FineTuningSettings
    distillation_set: Sequence[TrainingUtterance]
    domain: str
    examples: Sequence[TrainingUtterance]
    folder: Path | None
    saved_s: float = 0.0
    peak_gb: float = 0.0

    def __call__(
        self,
        weights: Tensors,
        training: Sequence[TrainingUtterance],
        *,
        penalty: Penalty | None = None,
        adapters: Adapters | None = None,
        **changes: Any,
    ) -> Tensors:
        settings = replace(self.settings, **changes)

        def tuned() -> Tensors:
            return finetune(
                self.bundle,
                weights,
                training,
                [],
                settings,
                distillation_set=self.distillation_set,
                teacher=lambda: self.base,
                penalty=penalty,
                adapters=adapters,
            ).weights

        is_of_base = all(weights[name] is tensor for name, tensor in self.base.items())
        is_plain = penalty is None and adapters is None
        if self.folder is None or not is_plain or not is_of_base or list(training) != list(self.examples):
            return tuned()
        kind = json.dumps([asdict(settings), bool(self.distillation_set)], sort_keys=True)
        path = self.folder / f"{self.domain}-{sha256(kind.encode()).hexdigest()[:16]}.safetensors"
        cost = path.with_suffix(".json")  # written last: there is no cost without weights
        if cost.is_file():
            record = read_record(cost, (), {}, self.folder, ("seconds", "peak_gb"))
            self.saved_s += record["seconds"]
            self.peak_gb = max(self.peak_gb, record["peak_gb"])
            return read_stored_weights(path, self.folder)
        began = time.perf_counter()
        result = tuned()
        record = {"seconds": time.perf_counter() - began, "peak_gb": peak_memory_mb() / 1e3}
        path.parent.mkdir(exist_ok=True)
        write_weights(path, dict(result))
        write_atomically(cost, json.dumps(record).encode())
        return result
