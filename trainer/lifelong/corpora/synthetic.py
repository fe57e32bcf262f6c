"""`synthetic-accents`: synthetic speech in six accents, from Debian's espeak-ng and flite.

Both run offline and are deterministic, so the benchmark is reproducible. Train and test share no
sentence and no voice. It compares methods; it does not measure how well a model recognises people.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_lines
from editing.errors import BadInputError, MissingDependencyError, StorageError, one_line
from editing.files import cannot_write, write_atomically
from trainer.lifelong.corpora.sentences import sentences

# Natural-sounding variants of espeak-ng's voices. The test variants are never used for training.
TRAIN_VARIANTS = (  # noqa: SIM905 - a list of 51 strings would take a line each
    "m1 m2 m3 m5 m7 m8 f1 f2 f4 adam Andy Annie anikaRobot Alex Alicia belinda aunty benjamin boris caleb david Diogo "
    "ed edward2 Gene grandma Henrique iven iven3 john Jacky Lee linda max Michael Mike michel miguel pablo paul pedro "
    "quincy norbert travis robert rob sandro shelby steph2 Tweaky zac"
).split()
TEST_VARIANTS = "m4 m6 f3 f5 Andrea Denis iven2 Marco Mario steph steph3 victor".split()  # noqa: SIM905 - as above
TRAIN_SPEED, TEST_SPEED = (125, 195), (135, 185)  # words per minute, of espeak-ng
PITCH = (30, 70)  # of espeak-ng, from 0 to 99; its default is 50
STRETCH = (0.85, 1.2)  # by which flite's speech is made shorter or longer


@dataclass(frozen=True)
class Accent:
    """A domain: espeak-ng's names of the accent, and flite's voices with that accent."""

    name: str
    espeak: Sequence[str]
    flite: Sequence[str] = ()


# A base model is trained on the first accent, as in the paper on sequential editing (arXiv 2406.17935).
ACCENTS: Sequence[Accent] = (
    Accent("us", ("en-us",), ("rms", "slt", "kal16")),
    Accent("england", ("en-gb-x-rp", "en-gb")),
    Accent("scotland", ("en-gb-scotland",), ("awb",)),
    Accent("lancashire", ("en-gb-x-gbclan",)),
    Accent("west-midlands", ("en-gb-x-gbcwmd",)),
    Accent("caribbean", ("en-029",)),
)
FLITE_SHARE = 0.15  # of the training utterances, for accents that flite has; small, because it has few voices


@dataclass(frozen=True)
class Sizes:
    """Numbers of utterances: to train the base, to train on each other accent, and to test each accent."""

    base: int = 4000
    train: int = 200
    test: int = 100


def synthesise(
    folder: Path, sizes: Sizes | None = None, seed: int = 0, on_done: Callable[[], None] = lambda: None
) -> list[Path]:
    """Synthesises every accent into `folder/ACCENT/`; an accent that is there already is kept.

    Args:
        folder: created if missing.
        sizes: numbers of utterances.
        seed: for sentences, voices and speeds.
        on_done: called after each utterance.

    Returns:
        The manifests, in the order of `ACCENTS`.

    Raises:
        MissingDependencyError: espeak-ng or flite is not installed, or gives no speech.
        BadInputError: the folder has an accent of another seed or other sizes.
        StorageError: the folder cannot be written.
    """
    missing = [name for name in ("espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        raise MissingDependencyError(f"{' and '.join(missing)} not found: sudo apt install {' '.join(missing)}")
    sizes = sizes or Sizes()
    manifests = []
    for index, accent in enumerate(ACCENTS):
        manifest = folder / accent.name / "manifest.jsonl"
        manifests.append(manifest)
        planned = [
            *_plan(accent, "train", sizes.train if index else sizes.base, (seed, index, 0)),
            *_plan(accent, "test", sizes.test, (seed, index, 1)),
        ]
        if manifest.is_file():
            _check_same(manifest, planned)
            continue
        try:
            (manifest.parent / "audio").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(manifest.parent, error) from error
        with ThreadPoolExecutor() as pool:
            lines = []
            for line in pool.map(lambda utterance: _synthesise(utterance, folder / accent.name), planned):  # noqa: B023
                lines.append(line)
                on_done()
        write_atomically(manifest, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return manifests


def _check_same(manifest: Path, planned: Sequence[_PlannedUtterance]) -> None:
    """Checks that an accent that is there has the planned utterances.

    Raises:
        BadInputError: it has others.
    """
    found = [(one.transcript, one.split) for one in read_lines(manifest)]
    if found != [(one.text, one.split) for one in planned]:
        raise BadInputError(
            f"{manifest}: has {len(found)} utterances of another seed or other sizes ({len(planned)} are asked for); "
            "nothing was changed. Name another folder, or remove this one"
        )


@dataclass(frozen=True)
class _PlannedUtterance:
    file: str
    text: str
    split: str
    voice: str
    command: Sequence[str]


def _plan(accent: Accent, split: str, count: int, seed: tuple[int, ...]) -> list[_PlannedUtterance]:
    random = np.random.default_rng(seed)
    variants, speeds = (TRAIN_VARIANTS, TRAIN_SPEED) if split == "train" else (TEST_VARIANTS, TEST_SPEED)
    planned = []
    for number, text in zip(range(count), sentences(split, int(random.integers(2**32))), strict=False):
        file = f"audio/{split}-{number:05}.flac"
        if split == "train" and accent.flite and random.random() < FLITE_SHARE:
            voice = _one(accent.flite, random)
            stretch = f"duration_stretch={random.uniform(*STRETCH):.2f}"
            planned.append(
                _PlannedUtterance(file, text, split, voice, ("flite", "-voice", voice, "--setf", stretch, "-t", text))
            )
        else:
            variant = _one(variants, random)
            voice = _one(accent.espeak, random)
            style = ("-s", str(random.integers(*speeds)), "-p", str(random.integers(*PITCH)))
            command = ("espeak-ng", "-v", f"{voice}+{variant}", *style, "--stdout", text)
            planned.append(_PlannedUtterance(file, text, split, variant, command))
    return planned


def _one(names: Sequence[str], random: np.random.Generator) -> str:
    return names[int(random.integers(len(names)))]


def _synthesise(utterance: _PlannedUtterance, folder: Path) -> dict[str, object]:
    audio = _run_synthesiser(utterance.command)
    try:
        soundfile.write(folder / utterance.file, audio, SAMPLE_RATE, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise StorageError(f"{folder / utterance.file}: cannot be written ({error})") from error
    return {
        "audio": utterance.file,
        "text": utterance.text,
        "duration": round(len(audio) / SAMPLE_RATE, 2),
        "speaker": f"{folder.name}-{utterance.voice}",
        "split": utterance.split,
    }


def _run_synthesiser(command: Sequence[str]) -> Samples:
    """Runs a synthesiser: (samples,) at 16 kHz, with 0.1 s of silence before and after.

    Raises:
        MissingDependencyError: it gives no speech, for instance because it does not have the voice.
    """
    if command[0] == "flite":  # can only write to a file
        command = (*command, "-o", "/dev/stdout")
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    try:
        if done.returncode:
            raise ValueError(done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}")
        samples, rate = soundfile.read(io.BytesIO(_with_length(bytearray(done.stdout))), dtype="float32")
    except (ValueError, OverflowError, soundfile.LibsndfileError) as error:
        raise MissingDependencyError(
            f"{command[0]}: gave no speech for {' '.join(command[1:])} ({one_line(str(error))}). Install the newest "
            f"version of its package ({command[0]}), and start again: finished accents are kept"
        ) from error
    resampled: Samples = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    return np.pad(resampled, SAMPLE_RATE // 10)


def _with_length(data: bytearray) -> bytes:
    """Sets the length fields of a WAV file that was written to a pipe.

    Raises:
        ValueError, OverflowError: it is not a WAV file.
    """
    start = data.index(b"data")
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[start + 4 : start + 8] = (len(data) - start - 8).to_bytes(4, "little")
    return bytes(data)
