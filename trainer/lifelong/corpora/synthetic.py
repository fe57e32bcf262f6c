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
from editing.errors import MissingDependencyError, StorageError
from editing.files import write_atomically
from trainer.lifelong.corpora.sentences import sentences

# Natural-sounding variants of espeak-ng's voices. The test variants are never used for training.
TRAIN_VARIANTS = (
    *(
        "m1",
        "m2",
        "m3",
        "m5",
        "m7",
        "m8",
        "f1",
        "f2",
        "f4",
        "adam",
        "Andy",
        "Annie",
        "anikaRobot",
        "Alex",
        "Alicia",
        "belinda",
        "aunty",
    ),
    *("benjamin", "boris", "caleb", "david", "Diogo", "ed", "edward2", "Gene", "grandma", "Henrique", "iven", "iven3"),
    *("john", "Jacky", "Lee", "linda", "max", "Michael", "Mike", "michel", "miguel", "pablo", "paul", "pedro"),
    *("quincy", "norbert", "travis", "robert", "rob", "sandro", "shelby", "steph2", "Tweaky", "zac"),
)
TEST_VARIANTS = ("m4", "m6", "f3", "f5", "Andrea", "Denis", "iven2", "Marco", "Mario", "steph", "steph3", "victor")
TRAIN_SPEED, TEST_SPEED = (125, 195), (135, 185)  # words per minute


@dataclass(frozen=True)
class Accent:
    """A domain: espeak-ng's names of the accent, and flite's voices with that accent."""

    name: str
    espeak: Sequence[str]
    flite: Sequence[str] = ()


# A base model is trained on the first accent, as in the paper.
ACCENTS: Sequence[Accent] = (
    Accent("us", ("en-us",), ("rms", "slt", "kal16")),
    Accent("england", ("en-gb-x-rp", "en-gb")),
    Accent("scotland", ("en-gb-scotland",), ("awb",)),
    Accent("lancashire", ("en-gb-x-gbclan",)),
    Accent("west-midlands", ("en-gb-x-gbcwmd",)),
    Accent("caribbean", ("en-029",)),
)
FLITE_SHARE = 0.15  # of the training utterances of accents that flite has


@dataclass(frozen=True)
class Sizes:
    """Numbers of utterances: to train the base, to train on each other accent, and to test each accent."""

    base: int = 6000
    train: int = 200
    test: int = 100


def synthesise(
    folder: Path, sizes: Sizes | None = None, seed: int = 0, on_done: Callable[[], None] = lambda: None
) -> list[Path]:
    """Synthesises every accent into `folder/ACCENT/`; existing accents are kept.

    Args:
        folder: created if missing.
        sizes: numbers of utterances.
        seed: for sentences, voices and speeds.
        on_done: called after each utterance.

    Returns:
        The manifests, in the order of `ACCENTS`.

    Raises:
        MissingDependencyError: espeak-ng or flite is not installed.
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
        if manifest.is_file():
            continue
        planned = [
            *_plan(accent, "train", sizes.train if index else sizes.base, (seed, index, 0)),
            *_plan(accent, "test", sizes.test, (seed, index, 1)),
        ]
        (manifest.parent / "audio").mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            lines = []
            for line in pool.map(lambda utterance: _synthesise(utterance, folder / accent.name), planned):  # noqa: B023
                lines.append(line)
                on_done()
        write_atomically(manifest, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return manifests


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
            stretch = f"duration_stretch={random.uniform(0.85, 1.2):.2f}"
            planned.append(
                _PlannedUtterance(file, text, split, voice, ("flite", "-voice", voice, "--setf", stretch, "-t", text))
            )
        else:
            variant = _one(variants, random)
            voice = _one(accent.espeak, random)
            how = ("-s", str(random.integers(*speeds)), "-p", str(random.integers(30, 70)))
            command = ("espeak-ng", "-v", f"{voice}+{variant}", *how, "--stdout", text)
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
    """Runs a synthesiser: (samples,) at 16 kHz, with 0.1 s of silence before and after."""
    if command[0] == "flite":  # can only write to a file
        command = (*command, "-o", "/dev/stdout")
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    data = bytearray(done.stdout)
    samples, rate = soundfile.read(io.BytesIO(_with_length(data)), dtype="float32")
    resampled: Samples = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    return np.pad(resampled, SAMPLE_RATE // 10)


def _with_length(data: bytearray) -> bytes:
    """Sets the length fields of a WAV file that was written to a pipe."""
    start = data.find(b"data")
    data[4:8] = (len(data) - 8).to_bytes(4, "little")
    data[start + 4 : start + 8] = (len(data) - start - 8).to_bytes(4, "little")
    return bytes(data)
