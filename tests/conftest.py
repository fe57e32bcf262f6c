"""Fixtures shared by all tests: real recordings, the real model, and a microphone without hardware."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from hypothesis import HealthCheck, settings

from device_app.audio.samples import SAMPLE_RATE, Samples, read, read_blocks
from device_app.models.bundles import embedded_bundle
from device_app.paths import RECORDINGS
from device_app.recognition import onnx_session
from device_app.recognition.transcriber import Transcriber
from export.bundle import GRAPHS, TOKENIZER, Bundle
from tests import exported_graphs as graphs
from tests.command_line import call
from tests.loaded_models import loaded_once

REPOSITORY = Path(__file__).parent.parent
CORPUS = REPOSITORY.parent / "shared" / "data"

# Wall time depends on the machine's load, so it fails no test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

DESELECTED = pytest.StashKey[int]()  # number of deselected slow tests

# Files and folders whose tests take long, the longest file first.
LONG_FIRST = (
    "device_app/cli/test_edits_in_process.py",
    "trainer/",
    "frozen/",
    "device_app/cli/",
    "hostile/",
    "test_docs.py",
    "device_app/adaptation/",
    "device_app/audio/test_microphone.py",
)

TINY_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "subsampling_conv_channels": 16,
}
TINY_MOONSHINE_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 3,
    "encoder_num_attention_heads": 4,
    "decoder_num_attention_heads": 4,
    "initializer_range": 0.2,  # with the default and so few weights, all outputs have nearly the same probability
}
TINY_TEXTS = [
    "zero one two three four",
    "five six seven eight nine",
    "it's a quick brown fox that jumps over the lazy dog",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the files in golden/, for review")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Keeps the garbage collector away from the objects of torch and other libraries, which live until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the long files first: with `--no-loadscope-reorder`, the workers of pytest-xdist then end together."""
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(root).as_posix()
        return next((at for at, start in enumerate(LONG_FIRST) if name.startswith(start)), len(LONG_FIRST))

    items.sort(key=place)  # stable: the order within a file remains


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    slow = sum(item.get_closest_marker("slow") is not None for item in items)
    if items:
        config = items[0].config
        config.stash[DESELECTED] = config.stash.get(DESELECTED, 0) + slow


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # a worker of pytest-xdist
        session.config.workeroutput["deselected"] = session.config.stash.get(DESELECTED, 0)
        session.config.workeroutput["exported"] = graphs.exported


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes what a worker of pytest-xdist has counted; all deselect the same tests."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[DESELECTED] = output.get("deselected", 0)
    graphs.exported.extend(output.get("exported", []))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Lists, in sections of their own, the tests that were not run, and why, and graphs that are not stored."""
    if graphs.exported:
        terminalreporter.section("slower than need be")
        terminalreporter.line(
            f"Graphs exported anew: {', '.join(sorted(graphs.exported))}: store them by --update-golden"
        )
    reasons = Counter(skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    slow = config.stash.get(DESELECTED, 0)
    if not reasons and not slow:
        return
    terminalreporter.section("not tested")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"Skipped: {count} test{'s' if count > 1 else ''}: {reason}")
    if slow:
        terminalreporter.line(f"Deselected: {slow} slow test{'s' if slow > 1 else ''}: run them with -m slow")


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip, without the path of a missing file, so that equal reasons are counted together."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    return reason.partition(f": {CORPUS}")[0]


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Builds a folder in one worker of pytest-xdist, for all workers to read."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not folder.exists():
            unfinished = root / f"{name}.unfinished"
            build(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder for the whole run, in which the model is baked once; the user's folder is not used."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_EDGE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _no_lines_of_progress() -> Iterator[None]:
    """Without a terminal, commands print a line of progress now and then: on a busy machine in any test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device_app.cli.terminal.progress.LINE_S", float("inf"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _workers_share_the_cores() -> Iterator[None]:
    """Gives each worker of pytest-xdist its share of the cores: more threads than cores only wait for each other."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    available = onnx_session.available_cores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_session, "available_cores", lambda: max(1, available() // workers))
        yield


@pytest.fixture(scope="session", autouse=True)
def _models_are_loaded_once() -> Iterator[None]:
    with loaded_once():
        yield


@pytest.fixture
def one_processor() -> Iterator[None]:
    """One core, and therefore one thread, for the test and the processes that it starts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(before)[worker % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return embedded_bundle()


@pytest.fixture(scope="session")
def exported_graphs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Exports of models are taken from `tests/graphs/` where they have been made before."""
    with graphs.reused(request.config.getoption("--update-golden")):
        yield


@pytest.fixture(scope="session")
def tiny_bundle(exported_graphs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    """A conformer-ctc with random weights, small enough to be exported, trained and run in seconds."""
    from trainer.families import conformer_ctc  # imports torch, which most tests do not need
    from trainer.training.from_scratch import new_bundle

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(conformer_ctc.CONFIGS, "tiny", {**conformer_ctc.CONFIGS["small"], **TINY_SIZES})
        folder = built_once(tmp_path_factory, "tiny", lambda folder: new_bundle(TINY_TEXTS, "tiny", folder))
        yield Bundle.open(folder)


@pytest.fixture(scope="session")
def tiny_moonshine(exported_graphs: None, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A Moonshine with the tokenizer and settings of the embedded model, but small layers and random weights.

    It is a complete bundle with graphs exported from torch, so it can be baked, run and fine-tuned.
    """
    import tokenizers
    import torch  # which most tests do not need

    from export.graphs.moonshine import export_moonshine
    from trainer.bundle_writer import write_bundle
    from trainer.families import moonshine

    def build(folder: Path) -> None:
        record = Bundle(
            folder=folder,
            name="tiny-moonshine",
            family="moonshine",
            sampling_rate=SAMPLE_RATE,
            config={**bundle.config, **TINY_MOONSHINE_SIZES},
            licence="none",
            origin="random numbers",
        )
        torch.manual_seed(0)
        model = moonshine.build(record.config)
        tokenizer = tokenizers.Tokenizer.from_file(str(bundle.path(TOKENIZER)))
        write_bundle(record, tokenizer, model, lambda one, at: export_moonshine(one, at / GRAPHS), "none\n")

    return Bundle.open(built_once(tmp_path_factory, "tiny-moonshine", build))


@pytest.fixture(scope="session")
def transcriber(bundle: Bundle, home: Path) -> Transcriber:
    return Transcriber(bundle)


@pytest.fixture(scope="session")
def prompt() -> Samples:
    """Five seconds of a real speaker: "The number you have dialed is not in service. ..."."""
    return read(RECORDINGS / "ss-noservice.flac")


@pytest.fixture(scope="session")
def reading() -> Samples:
    """44 s of a real reader: the opening of A Tale of Two Cities."""
    return read(RECORDINGS / "two_cities.flac")


@pytest.fixture
def noise() -> Callable[..., Samples]:
    """Makes noise at a level in dBFS; the same arguments give the same noise."""

    def make(seconds: float, dbfs: float = -40.0, seed: int = 0) -> Samples:
        samples = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))
        return (samples * 10 ** (dbfs / 20)).astype(np.float32)

    return make


@pytest.fixture
def corpus() -> Callable[[str], Path]:
    """Returns the manifest of a development set; skips the test if it is missing."""

    def manifest(name: str) -> Path:
        path = CORPUS / name / "manifest.jsonl"
        if not path.is_file():
            pytest.skip(f"the development recordings are not here: {path}")
        return path

    return manifest


@pytest.fixture(scope="session")
def codes(tmp_path_factory):
    """The manifest of 30 spelled codes, concatenated from recordings of letters and digits."""
    folder = tmp_path_factory.mktemp("codes")
    command = [sys.executable, str(REPOSITORY / "scripts" / "codes.py"), str(folder), "--count", "30"]
    subprocess.run(command, check=True, timeout=60)
    return folder / "manifest.jsonl"


@pytest.fixture
def run(transcriber: Transcriber, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in this process, through its entry point, in an empty folder, with a baked model."""

    def run_here(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(tmp_path):
            for name, value in environment.items():
                patch.setenv(name, value)
            done = call(*arguments, stdin=stdin, code=None)
        return subprocess.CompletedProcess(arguments, done.code, done.stdout, done.stderr)

    return run_here


@pytest.fixture
def run_process(transcriber: Transcriber, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as `run`, but in its own process, as a user does."""

    def start(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "device_app", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", "TERM": "dumb", **environment},
            timeout=120,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return start


@pytest.fixture
def copied_bundle(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the embedded bundle that a test can damage."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.folder, folder)
    return Bundle.open(folder)


def edit_record(bundle: Bundle, **changes: object) -> None:
    """Changes model.json of a copied bundle."""
    path = bundle.folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@dataclass(frozen=True)
class VirtualMicrophone:
    """A microphone that records what is played, by PulseAudio's null sink and its monitor."""

    environment: dict[str, str]

    def playing(self, recording: Path) -> subprocess.Popen[bytes]:
        """Plays a recording in the background; as a context manager, waits for the end."""
        return subprocess.Popen(["paplay", "--device=speaker", str(recording)], env={**os.environ, **self.environment})

    def play(self, recording: Path) -> None:
        with self.playing(recording) as player:
            assert player.wait(60) == 0

    def control(self, *arguments: str) -> None:
        subprocess.run(["pactl", *arguments], env={**os.environ, **self.environment}, check=True, timeout=10)


def microphone_is_missing() -> str:
    """Why a virtual microphone is not possible here; empty if it is."""
    missing = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: pulseaudio pulseaudio-utils libasound2-plugins)"
    try:
        import sounddevice  # noqa: F401
    except OSError:
        return "PortAudio is not installed (Debian: libportaudio2)"
    return ""


@pytest.fixture(scope="session")
def virtual_microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    """A separate PulseAudio server for the tests; skips the test, with the reason, if there can be none."""
    if reason := microphone_is_missing():
        pytest.skip(reason)
    runtime = tmp_path_factory.mktemp("xdg")
    runtime.chmod(0o700)
    environment = {
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(runtime),
        "PULSE_RUNTIME_PATH": str(runtime / "pulse"),
        "PULSE_SERVER": f"unix:{runtime}/native",
    }
    modules = (
        f"module-native-protocol-unix socket={runtime}/native auth-anonymous=1",
        "module-null-sink sink_name=speaker",
    )
    command = [
        "pulseaudio",
        "-n",
        "--daemonize=no",
        "--exit-idle-time=-1",
        "--disable-shm=yes",
        "--use-pid-file=no",
    ]
    with (runtime / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, *(f"--load={module}" for module in modules)],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for_server(environment)
        yield VirtualMicrophone(environment)
    finally:
        server.terminate()
        server.wait(10)


def _wait_for_server(environment: dict[str, str]) -> None:
    command = ["pactl", "set-default-source", "speaker.monitor"]
    for _ in range(100):
        if subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail("PulseAudio did not start in 10 s")


class Terminal:
    """Runs a command at a pseudo-terminal, and reads its screen and presses keys like a user."""

    def __init__(self, arguments: Sequence[object], environment: Mapping[str, str]) -> None:
        self._controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "device_app", *map(str, arguments)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", **environment},
            # Children of a script that runs in the background would otherwise ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        os.close(terminal)
        self.screen = ""
        self._seen = 0

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """Waits for a text and returns the output since the last wait, up to this text; fails after the time limit."""
        end = time.monotonic() + seconds
        while (found := self.screen.find(text, self._seen)) < 0:
            left = end - time.monotonic()
            if left <= 0 or not self._read(left):
                pytest.fail(f"{text!r} did not appear after:\n{self.screen[self._seen :]}")
        before, self._seen = self._seen, found + len(text)
        return self.screen[before : self._seen]

    def press(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def finish(self) -> int:
        """Reads the remaining output; returns the exit status."""
        while self._read(30.0):
            pass
        return self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._controller)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._controller], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._controller, 65536)
        except OSError:  # on Linux, the other end is closed
            return False
        self.screen += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def terminal(transcriber: Transcriber, home: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts the command line at a pseudo-terminal, with a separate data folder for the test."""
    own = tmp_path / "home"
    shutil.copytree(home / "baked", own / "baked")
    with contextlib.ExitStack() as started:

        def start(*arguments: object, **environment: str) -> Terminal:
            opened = Terminal(arguments, {"ASR_EDGE_HOME": str(own), **environment})
            started.callback(opened.close)
            return opened

        yield start


@pytest.fixture
def decodings(monkeypatch):
    """The recordings that parts are decoded from, once for each time that decoding starts at the beginning."""
    started = []

    def counted(path, *arguments, **options):
        started.append(path)
        return read_blocks(path, *arguments, **options)

    monkeypatch.setattr("device_app.data.cuts.read_blocks", counted)
    return started


def write_audio(path: Path, audio: np.ndarray, sample_rate: int = SAMPLE_RATE, **options: str) -> Path:
    """Writes an audio file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, sample_rate, **options)
    return path


def until(condition, seconds=180.0):
    """Waits until a condition returns a true value, and returns it; fails after the time limit."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.05)
    return found
