"""Which models this machine can run and adapt: estimates from one measurement of the embedded model.

The time of a model is taken to be proportional to its multiplications per second of speech: each parameter of the
encoder once a frame, each parameter of the decoder and of the output layer once a token of every hypothesis.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from device_app.audio.samples import SAMPLE_RATE
from device_app.data.manifest import read_manifest
from device_app.evaluation.memory import peak_memory_mb
from device_app.models.bundles import embedded_bundle
from device_app.paths import RECORDINGS, data_folder
from device_app.program_version import program_version
from device_app.recognition.onnx_session import available_cores
from device_app.recognition.transcriber import Transcriber
from editing.files import write_atomically
from editing.json_text import read_json
from editing.privacy import make_folder
from export.bundle import WEIGHTS, Bundle

FILE = "machine-speed.json"
RUNS = 3  # of which the median counts
RECORDINGS_MEASURED = 3  # the shortest of those in the package; some 10 s of speech

# Frames of the encoder per second of speech, by family: Moonshine has one in 384 samples, Conformer one in 40 ms,
# wav2vec2 and its like one in 20 ms. Whisper has one in 20 ms too, but pads every segment, of about 6 s, to 30 s.
FRAMES_PER_S: Mapping[str, float] = {
    "moonshine": SAMPLE_RATE / 384,
    "whisper": 50 * 30 / 6,
    "conformer-ctc": 25.0,
    "auto-ctc": 50.0,
}
OTHER_FRAMES_PER_S = 50.0  # of families that are not listed
TOKENS_PER_S = 4.0 * 1.3  # 4 tokens per second of English speech, and 30 % more for the beam's other hypotheses

BYTES_IN_MEMORY = 2.0  # per parameter of an int8 model: the file, and what ONNX Runtime makes of it

# Fine-tuning the embedded model on 60 short recordings took 79 s (docs/adapt.md) on a machine with this real-time
# factor, and 2.1 GB. AdamW keeps 16 bytes for each parameter: weight, gradient and two moments.
ADAPTATION_RECORDINGS = 60
ADAPTATION_S = 79.0
ADAPTATION_RTF = 0.013
ADAPTATION_GB = 2.1
BYTES_IN_TRAINING = 16
MIN_ADAPTATION_GB = 0.5  # the least that is estimated, however small the model


@dataclass(frozen=True)
class Size:
    """Parameters in millions, by how often they are used.

    Attributes:
        family: the family of the model.
        encoder: used once a frame.
        decoder: used once a token, the output layer included.
        published: the error rate by its authors, such as "12.7 % WER"; empty if there is none.
    """

    family: str
    encoder: float
    decoder: float
    published: str = ""

    @property
    def parameters(self) -> float:
        """All parameters, in millions."""
        return self.encoder + self.decoder

    @property
    def work(self) -> float:
        """Millions of multiplications per second of speech."""
        return self.encoder * FRAMES_PER_S.get(self.family, OTHER_FRAMES_PER_S) + self.decoder * TOKENS_PER_S


# Published models. Their authors' word error rates, means over the English sets of the Open ASR leaderboard: Moonshine
# in its README (moonshine-ai/moonshine, 2026), Whisper there too.
PUBLISHED: Mapping[str, Size] = {
    "moonshine-tiny": Size("moonshine", 7.7, 19.4, "12.7 % WER"),
    "moonshine-base": Size("moonshine", 20.2, 41.4, "10.1 % WER"),
    "whisper-tiny.en": Size("whisper", 8.2, 29.6, "12.8 % WER"),
    "whisper-base.en": Size("whisper", 20.6, 52.0, "10.3 % WER"),
    "whisper-small.en": Size("whisper", 88.2, 153.6, "8.6 % WER"),
}


@dataclass(frozen=True)
class Machine:
    """What was measured with the embedded model.

    Attributes:
        rtf: seconds of computation per second of audio.
        memory_mb: peak memory of the process, in MB (10^6 bytes).
    """

    rtf: float
    memory_mb: float


@dataclass(frozen=True)
class Fit:
    """The estimates for one model on this machine.

    Attributes:
        name: the name of the model.
        is_installed: whether it can be used now.
        rtf: seconds of computation per second of audio.
        memory_mb: peak memory while transcribing.
        adaptation_s: seconds of a fine-tuning on 60 short recordings.
        adaptation_gb: its memory, in GB.
        published: as `Size.published`.
    """

    name: str
    is_installed: bool
    rtf: float
    memory_mb: float
    adaptation_s: float
    adaptation_gb: float
    published: str


def size_of(bundle: Bundle) -> Size:
    """The size of an installed model.

    Raises:
        BundleError: it has no weights, or they are damaged.
    """
    encoder = decoder = 0
    is_ctc = bundle.family.endswith("ctc")
    for name, shape in bundle.shapes().items():
        count = 1
        for length in shape:
            count *= length
        if is_ctc or ".encoder." in name:
            encoder += count
        else:
            decoder += count
    listed = PUBLISHED.get(bundle.name)
    return Size(bundle.family, encoder / 1e6, decoder / 1e6, listed.published if listed else "")


def machine() -> Machine:
    """The measurement of this machine: made once, and again after an update or with another number of cores.

    Raises:
        StorageError: the data folder cannot be written.
    """
    path = data_folder() / FILE
    conditions = {"version": program_version(), "cores": available_cores()}
    try:
        found = read_json(path)
        if found["conditions"] == conditions:
            return Machine(float(found["rtf"]), float(found["memory_mb"]))
    except (OSError, ValueError, KeyError, TypeError):  # not measured, or damaged
        pass
    measured = _measure()
    make_folder(data_folder())
    write_atomically(path, json.dumps({"conditions": conditions, **asdict(measured)}).encode())
    return measured


def _measure() -> Machine:
    transcriber = Transcriber(embedded_bundle())
    recordings = sorted((one.read() for one in read_manifest(RECORDINGS / "manifest.jsonl")), key=len)
    recordings = recordings[:RECORDINGS_MEASURED]
    seconds = sum(map(len, recordings)) / SAMPLE_RATE
    times = []
    for _ in range(RUNS + 1):  # the first loads what the others find in memory
        start = time.perf_counter()
        for audio in recordings:
            transcriber.transcribe(audio, SAMPLE_RATE)
        times.append((time.perf_counter() - start) / seconds)
    return Machine(round(statistics.median(times[1:]), 5), round(peak_memory_mb(), 1))


def fits(installed: Mapping[str, Bundle]) -> list[Fit]:
    """Estimates for the installed models and the published ones, the fastest first.

    Args:
        installed: bundles by name; those without weights are left out.

    Raises:
        BundleError: the weights of a bundle are damaged.
        StorageError: the data folder cannot be written.
    """
    here, embedded = machine(), size_of(embedded_bundle())
    sizes = {name: size_of(bundle) for name, bundle in installed.items() if WEIGHTS in bundle.files}
    found = []
    for name, size in {**PUBLISHED, **sizes}.items():
        rtf = here.rtf * size.work / embedded.work
        more_millions = size.parameters - embedded.parameters
        adaptation_gb = ADAPTATION_GB + BYTES_IN_TRAINING * more_millions / 1000
        found.append(
            Fit(
                name=name,
                is_installed=name in sizes,
                rtf=round(rtf, 4),
                memory_mb=round(max(0.0, here.memory_mb + BYTES_IN_MEMORY * more_millions)),
                adaptation_s=round(ADAPTATION_S * rtf / ADAPTATION_RTF),
                adaptation_gb=round(max(MIN_ADAPTATION_GB, adaptation_gb), 1),
                published=size.published,
            )
        )
    return sorted(found, key=lambda fit: fit.rtf)
