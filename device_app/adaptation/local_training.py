"""Fine-tuning on this machine: the only module of `device_app` that imports the trainer, inside a function."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from device_app.adaptation.training_set import FineTuningResult, TrainingSet
from device_app.adaptation_notes import TrainingRun, version_mark
from device_app.data.utterance import StoredUtterance
from device_app.models.bundles import embedded_bundle
from device_app.paths import data_folder
from device_app.recognition.onnx_session import default_threads
from device_app.reporter import Reporter
from editing.errors import StorageError, counted
from editing.files import write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder

# Core-seconds per second of training speech and epoch; embedded model, no bfloat16 (with it, half as many); measured
# with a smaller distillation set.
CORE_SECONDS_PER_SPEECH_SECOND = 0.12
SPEED_FILE = "fine-tuning-speed.json"
MAX_BYTES = 1 << 16
MAX_DURATION_S = 1e7
MIN_UPDATES = 5  # of a fine-tuning whose speed is kept
WITHOUT_TORCH = (
    "Without it, a host can fine-tune (--on URL), or you can merge vectors from another machine: "
    "asr-edge vector import FILE"
)


class LocalFineTuning:
    """Fine-tunes on this machine, as a `FineTune`; an interrupted fine-tuning continues from its checkpoint."""

    def __init__(self, settings: Mapping[str, Any], reporter: Reporter) -> None:
        """
        Args:
            settings: fields of `trainer.training.settings.FineTuningSettings`.
            reporter: receives progress and messages.
        """
        self._settings, self._reporter = settings, reporter
        self._run: TrainingRun | None = None

    def __call__(self, training_set: TrainingSet) -> FineTuningResult:
        """Fine-tunes. Call it inside `ledger.changing()`, which excludes another fine-tuning of the same base model.

        Raises:
            BadInputError: a setting is out of range or the scope unknown, or no recording has speech.
            BadAudioError: a recording cannot be read.
            TrainingError: the loss is not finite, or memory ran out.
            TaskVectorError: the fine-tuned weights are not finite.
            StorageError: a checkpoint cannot be written.
        """
        from trainer.training.finetuning import finetune_for_training_set
        from trainer.training.loop import Progress
        from trainer.training.settings import FineTuningSettings, default_epochs

        given = FineTuningSettings(**self._settings)
        epochs = given.epochs or default_epochs(len(training_set.training))
        utterances = counted(len(training_set.training), "utterance")
        self._reporter.report(f"Fine-tuning on {utterances}{expected_duration_text(training_set, epochs)} ...")
        self._run = training_run(training_set)
        self._run.begin()
        pace = Pace()
        try:
            with self._reporter.finetuning() as show:

                def on_step(at: Progress) -> None:
                    pace.note(at.step, at.steps)
                    show(at.step, at.steps, at.epoch, at.loss)

                checkpoint = self._run.checkpoint
                return finetune_for_training_set(training_set, given, checkpoint=checkpoint, on_step=on_step)
        finally:  # of one that is stopped too
            pace.keep(training_set.origin.base, _speech_s(training_set) * epochs)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a checkpoint was stored, which is done once a minute."""
        return self._run is not None and self._run.checkpoint.is_file()

    def remove_checkpoint(self) -> None:
        """Removes the checkpoint. Call it when the adaptation has ended, whatever its outcome."""
        if self._run is not None:
            self._run.end()


class Pace:
    """Measures how fast the updates of a fine-tuning are on this machine, with all else that it does meanwhile."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: tuple[float, int, int] | None = None
        self._last = (0.0, 0)

    def note(self, update: int, updates: int) -> None:
        """Call it after each update, with its number and the total number of updates."""
        now = time.monotonic()
        self._first = self._first or (now, update, updates)
        self._last = (now, update)

    def keep(self, base: str, speech_s: float) -> None:
        """Stores the speed for the next estimate, if there were enough updates to tell.

        Args:
            base: the hash of the base model's weights.
            speech_s: seconds of speech in all updates.
        """
        if self._first is None or not speech_s:
            return
        began, first, updates = self._first
        at, last = self._last
        if last - first < MIN_UPDATES:
            return
        per_update = (at - began) / (last - first)
        speed = {"s_per_speech_s": per_update * updates / speech_s}
        if first == 1:  # it did not go on at a checkpoint
            speed["start_s"] = max(0.0, began - self._began - per_update)
        known = _speeds()
        with suppress(StorageError):  # it only makes the next estimate better
            make_folder(data_folder())
            content = json.dumps({**known, base: {**known.get(base, {}), **speed}}).encode()
            write_atomically(data_folder() / SPEED_FILE, content, private=True)


@dataclass(frozen=True)
class ExpectedDuration:
    """How long a fine-tuning takes on this machine.

    Attributes:
        seconds: its duration.
        slowdown: how many times as long everything takes as on these cores with nothing else to do.
        is_measured: whether it follows from a fine-tuning on this machine; otherwise `seconds` is about the least, from
            the number of cores and what they have to do now.
    """

    seconds: float
    slowdown: float
    is_measured: bool


def expected_duration(base: str, speech_s: float, epochs: int) -> ExpectedDuration | None:
    """How long a fine-tuning takes on this machine: as measured in the last one, or by its cores and their load.

    Args:
        base: the hash of the base model's weights.
        speech_s: seconds of speech to train on.
        epochs: passes over it.

    Returns:
        None for a model that was not measured.
    """
    ideal = CORE_SECONDS_PER_SPEECH_SECOND / default_threads() if base == embedded_bundle().weights_hash else None
    speed = _speeds().get(base, {})
    if (measured := speed.get("s_per_speech_s")) is not None:
        slowdown = 1.0 if ideal is None else max(1.0, measured / ideal)
        return ExpectedDuration(speed.get("start_s", 0.0) + measured * speech_s * epochs, slowdown, is_measured=True)
    if ideal is None:
        return None
    slowdown = 1 + _load() / default_threads()  # what runs now gets as much of the cores as the fine-tuning
    return ExpectedDuration(slowdown * ideal * speech_s * epochs, slowdown, is_measured=False)


def expected_duration_for(base: str, training: Sequence[StoredUtterance]) -> ExpectedDuration | None:
    """As `expected_duration`, for utterances to train on with the default settings."""
    from trainer.training.settings import default_epochs

    return expected_duration(base, sum(one.duration_s for one in training), default_epochs(len(training)))


def expected_duration_text(training_set: TrainingSet, epochs: int) -> str:
    """How long the epochs take on this machine, as a clause; empty for a model that was not measured.

    Args:
        training_set: utterances of the store; those that are replayed count too.
        epochs: passes over all of them.
    """
    expected = expected_duration(training_set.origin.base, _speech_s(training_set), epochs)
    if expected is None:
        return ""
    minutes = round(expected.seconds / 60)
    if expected.is_measured:
        duration = "a minute or less" if minutes <= 1 else f"about {minutes} minutes"
        return f", {duration} at the speed of the last time"
    duration = "about a minute" if minutes <= 1 else f"about {minutes} minutes"
    return f", {duration} or more without a GPU, depending on what else this computer does"


def _speech_s(training_set: TrainingSet) -> float:
    return sum(one.duration_s for one in training_set.training if isinstance(one, StoredUtterance))


def _load() -> float:
    """Programs that wait for a core, on average of the last minute; 0 where the system does not say."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return 0.0


def _speeds() -> dict[str, dict[str, float]]:
    """What was measured, by the hash of the base model's weights; empty if nothing was, or the file is damaged."""
    try:
        found = read_json(data_folder() / SPEED_FILE, max_bytes=MAX_BYTES)
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {base: speed for base, speed in found.items() if _is_speed(speed)}


def _is_speed(speed: object) -> bool:
    return isinstance(speed, dict) and all(
        isinstance(one, int | float) and 0 <= one < MAX_DURATION_S for one in speed.values()
    )


def training_run(training_set: TrainingSet) -> TrainingRun:
    """The run for this version of the model and these utterances with these texts; its name differs for all others."""
    bundle, origin = training_set.bundle, training_set.origin
    utterances = [(one.file.name, one.text) for one in (*training_set.training, *training_set.held_out)]
    content = json.dumps([bundle.bake_inputs, utterances])
    name = hashlib.sha256(content.encode()).hexdigest()[:16]
    return TrainingRun(name, origin.domain, origin.base, version_mark(bundle))
