"""The command line in the tests' own process, on a model that knows six letters."""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer.main
from typer.testing import CliRunner

import device_app.adaptation.test_sets
from device_app.adaptation.guard_set import guard_set
from device_app.adaptation.training_set import FineTuningResult
from device_app.cli import application, main
from device_app.cli.terminal.keyboard import Keyboard
from editing.task_vector import TaskVector
from export.bundle import Bundle
from tests.conftest import built_once
from tests.device_app.cli.desk import Person, SoundDevice
from tests.device_app.cli.golden import golden  # noqa: F401
from tests.device_app.cli.letters import renamed_letters, train_on_letters, write_domain

ENVIRONMENT = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": None, "FORCE_COLOR": None}


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit code."""

    code: int
    stdout: str
    stderr: str


def call(*arguments: object, stdin: bytes = b"", code: int | None = 0, terminal: bool = False) -> Done:
    """Runs `asr-edge` in this process, as its entry point does.

    Args:
        arguments: of the command line.
        stdin: what comes from standard input.
        code: the exit code that it must have; None for any.
        terminal: whether the three streams say that they are a terminal.
    """
    with _isolated(stdin, terminal) as (out, err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["asr-edge", *map(str, arguments)])
        patch.setattr(sys.modules["__main__"], "__package__", "")  # else usage would name pytest
        found: object = 0
        try:
            main()
        except SystemExit as exit_:
            found = exit_.code
            if isinstance(found, str):  # as Python itself does at the end
                sys.stderr.write(f"{found}\n")
                found = 1
        sys.stdout.flush()
        sys.stderr.flush()
        done = Done(int(found or 0), out.getvalue().decode(), err.getvalue().decode())
    assert code is None or done.code == code, done
    return done


@contextmanager
def _isolated(stdin: bytes, terminal: bool) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    with CliRunner().isolation(input=stdin, env=ENVIRONMENT) as (out, err, _):
        if terminal:
            for stream in (sys.stdin, sys.stdout, sys.stderr):
                stream.isatty = lambda: True
        yield out, err


@pytest.fixture(scope="package", autouse=True)  # other packages get the commands as they are
def _commands_are_built_once():
    """Typer makes all commands anew for each call, which takes longer than most of them."""
    built = typer.main.get_command(application())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device_app.cli.application", lambda: built)
        yield


@pytest.fixture(scope="session")
def trained_bundle(tiny_bundle, tmp_path_factory):
    """The tiny bundle after seconds of training: it recognises six spelled letters, and nothing else."""
    return Bundle.open(built_once(tmp_path_factory, "trained", lambda folder: train_on_letters(tiny_bundle, folder)))


class FineTuningStandIn:
    """Stands for a fine-tuning: gives at once the exact change that the domain calls for.

    Attributes:
        asked: settings of each fine-tuning, in order.
        training_sets: what each was given.
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
    """A sweep over three values of lambda, of which the last is the best; not over five."""
    monkeypatch.setattr("device_app.adaptation.sweep.LAMBDAS", (0.2, 0.9, 1.0))


@pytest.fixture
def teacher(monkeypatch):
    """Puts a `FineTuningStandIn` in place of the fine-tuning."""
    stand_in = FineTuningStandIn()
    monkeypatch.setattr("trainer.training.finetuning.finetune_for_training_set", stand_in)
    return stand_in


def small_guard_set(monkeypatch):
    """Judges by the two shortest utterances of the guard set, as all of them take seconds."""
    some = sorted(guard_set(), key=lambda one: len(one.samples))[:2]
    monkeypatch.setattr(device_app.adaptation.test_sets, "guard_set", lambda: some)


@pytest.fixture(scope="session")
def spelled(tmp_path_factory):
    """The manifest of 12 spelled codes, whose labels have other letters for two of the sounds."""
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
    """`known_home` for one test alone, which works in an empty folder beside it."""
    return _own(known_home, tmp_path, monkeypatch)


@pytest.fixture
def home_adapted(adapted_home, tmp_path, monkeypatch):
    """`adapted_home` for one test alone, which works in an empty folder beside it."""
    return _own(adapted_home, tmp_path, monkeypatch)


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A data folder in which nothing is, and an empty folder to work in."""
    monkeypatch.setenv("ASR_EDGE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def person(monkeypatch):
    """A person at the keyboard: what is put into its `keys` is pressed when the program asks."""
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
    """Puts a `SoundDevice`, with these recordings, in place of the module sounddevice."""

    def make(*recordings):
        device = SoundDevice(recordings)
        monkeypatch.setattr("device_app.audio.microphone.portaudio", lambda: device)
        monkeypatch.setattr("device_app.audio.playback.portaudio", lambda: device)
        return device

    return make
