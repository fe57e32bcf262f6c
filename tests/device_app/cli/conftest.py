"""Data folders for the commands, with a model that recognises six letters, and a person who uses them."""

import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import device_app.adaptation.test_sets
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.training_set import FineTuningResult
from device_app.cli.terminal.keyboard import Keyboard
from editing.task_vector import TaskVector
from export.bundle import Bundle
from tests.command_line import ENVIRONMENT, call  # noqa: F401
from tests.conftest import built_once
from tests.device_app.cli.desk import Person, SoundDevice
from tests.device_app.cli.golden import golden  # noqa: F401
from tests.device_app.cli.letters import renamed_letters, train_on_letters, write_domain


@pytest.fixture(scope="session")
def trained_bundle(tiny_bundle, tmp_path_factory):
    """The tiny bundle after seconds of training: it recognises six spelled letters, and nothing else."""
    return Bundle.open(built_once(tmp_path_factory, "trained", lambda folder: train_on_letters(tiny_bundle, folder)))


class FineTuningStandIn:
    """Stands in for fine-tuning: returns at once the exact change that the domain requires.

    Attributes:
        asked: settings of each fine-tuning, in order.
        training_sets: the training set of each.
    """

    def __init__(self) -> None:
        self.asked, self.training_sets = [], []

    def __call__(self, training_set, settings, *, checkpoint=None, on_step=lambda _progress: None):
        self.asked.append(settings)
        self.training_sets.append(training_set)
        epochs = settings.epochs or 2
        for step in range(1, epochs + 1):
            on_step(SimpleNamespace(step=step, steps=epochs, epoch=step, loss=1.0 / step, left_s=0.0))
        if checkpoint is not None:
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.write_bytes(b"a checkpoint")
        start = training_set.bundle.weights()
        vector = TaskVector.difference(renamed_letters(training_set.bundle), start, training_set.origin).as_stored()
        return FineTuningResult(vector, [1.0 / step for step in range(1, epochs + 1)], 1.5)


@pytest.fixture
def few_candidates(monkeypatch):
    """Sweeps over three values of lambda instead of five; the last is the best."""
    monkeypatch.setattr("device_app.adaptation.sweep.LAMBDAS", (0.2, 0.9, 1.0))


@pytest.fixture
def teacher(monkeypatch):
    """Replaces fine-tuning by a `FineTuningStandIn`."""
    stand_in = FineTuningStandIn()
    monkeypatch.setattr("trainer.training.finetuning.finetune_for_training_set", stand_in)
    return stand_in


def small_guard_set(monkeypatch):
    """Reduces the guard set to its two shortest utterances, as all of them take seconds.

    Its outputs may diverge: the tiny model writes letters for any speech, and an edit renames some of them.
    """
    monkeypatch.setattr("device_app.adaptation.gate.MAX_DIVERGENCE", math.inf)
    some = sorted(guard_set(), key=lambda one: len(one.samples))[:2]
    monkeypatch.setattr(device_app.adaptation.test_sets, "guard_set", lambda _language="en": some)


@pytest.fixture(scope="session")
def spelled(tmp_path_factory):
    """The manifest of 12 spelled codes, whose labels replace two of the letters."""
    return write_domain(tmp_path_factory.mktemp("spelled"), 12)


@pytest.fixture(scope="session")
def known_home(trained_bundle, spelled, tmp_path_factory):
    """A data folder with the trained bundle, installed as "tiny" and baked, and with the domain "codes"."""

    def build(folder):
        shutil.copytree(trained_bundle.folder, folder / "models" / "tiny")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASR_EDGE_HOME", str(folder))
            call("import", spelled, "--domain", "codes")
            call("evaluate", spelled, "--model", "tiny")

    return built_once(tmp_path_factory, "known-home", build)


@pytest.fixture(scope="session")
def adapted_home(known_home, tmp_path_factory):
    """A data folder in which "tiny" has been adapted to "codes": edit 1 and version 1."""

    def build(folder):
        shutil.copytree(known_home, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASR_EDGE_HOME", str(folder))
            patch.setattr("trainer.training.finetuning.finetune_for_training_set", FineTuningStandIn())
            small_guard_set(patch)
            call("adapt", "--domain", "codes", "--model", "tiny", "--lambda", "1", "--density", "1", "--epochs", "2")

    return built_once(tmp_path_factory, "adapted-home", build)


def _own(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(source, folder)
    monkeypatch.setenv("ASR_EDGE_HOME", str(folder))
    small_guard_set(monkeypatch)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


@pytest.fixture
def home_of_tiny(known_home, tmp_path, monkeypatch):
    """A copy of `known_home` for one test, which runs in an empty folder."""
    return _own(known_home, tmp_path, monkeypatch)


@pytest.fixture
def home_adapted(adapted_home, tmp_path, monkeypatch):
    """A copy of `adapted_home` for one test, which runs in an empty folder."""
    return _own(adapted_home, tmp_path, monkeypatch)


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """An empty data folder and an empty working folder."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def person(monkeypatch):
    """A person at the keyboard: presses `keys` when the program asks."""
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as pipe:
        somebody = Person(pipe)
        monkeypatch.setattr("prompt_toolkit.input.create_input", lambda: pipe)
        monkeypatch.setattr("prompt_toolkit.output.create_output", lambda **_more: DummyOutput())
        monkeypatch.setattr(Keyboard, "poll", lambda keyboard, wait_s=0.0: somebody.poll(keyboard, wait_s))
        monkeypatch.setattr(Keyboard, "edit", lambda keyboard, text: somebody.edit(keyboard, text))  # noqa: PLW0108
        yield somebody


@pytest.fixture
def sound(monkeypatch):
    """Replaces the module sounddevice by a `SoundDevice` with these recordings."""

    def make(*recordings):
        device = SoundDevice(recordings)
        monkeypatch.setattr("device_app.audio.microphone.portaudio", lambda: device)
        monkeypatch.setattr("device_app.audio.playback.portaudio", lambda: device)
        return device

    return make
