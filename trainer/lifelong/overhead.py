"""Measures the cost of stored edits: disk, memory, merge time and latency."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, Samples
from device_app.data.manifest import read_manifest
from device_app.evaluation.memory import peak_memory_mb
from device_app.models.bundles import find_bundle
from device_app.paths import RECORDINGS
from device_app.recognition.transcriber import Transcriber
from editing.errors import BadInputError
from editing.files import write_atomically
from editing.method import Tensors
from editing.methods import METHODS
from editing.task_vector import Origin, TaskVector, apply, read_origin
from export.bake import bake

DOMAIN = "overhead"  # marks the vectors that this module writes
NOISE = np.float32(1e-5)  # standard deviation of a vector's entries: small, so that 20 of them do not break the model
REPEATS = 9  # transcriptions, of which the median is taken


def overhead(
    folder: Path, *, model: str | None = None, counts: Sequence[int] = (1, 5, 10, 20), threads: int | None = None
) -> list[dict[str, float]]:
    """Measures the cost of stored edits with random task vectors, trimmed to density 0.5 and stored as in the ledger.

    The vectors are trimmed once, by TIES, as a fine-tuning stores them; then each is added with lambda 0.6.

    Args:
        folder: the vectors are written here and kept, and nothing else; created if missing.
        model: a bundle; None for the embedded one.
        counts: the numbers of edits to measure, at least one, each at least 1.
        threads: CPU threads of the recogniser.

    Returns:
        For every count: "edits", "disk_mb" of the vectors, "merge_s" from base and vectors to the
        version's weights, "bake_s", "peak_mb" of memory so far, and "latency_ms", the median time
        to transcribe a recording of a few seconds. "latency_ratio" is the latency relative to the
        base's, both measured alternately.

    Raises:
        BadInputError: the folder has a task vector from elsewhere under a name that would be replaced.
    """
    bundle = find_bundle(model)
    base = bundle.weights()
    random = np.random.default_rng(0)
    audio = min((one.read() for one in read_manifest(RECORDINGS / "manifest.jsonl")), key=len)
    origin = Origin(family=bundle.family, base=bundle.weights_hash, domain=DOMAIN, utterances=0, seconds=0.0)
    for number in range(1, max(counts) + 1):
        _check_replaceable(folder / f"{number}.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    rows = []
    with tempfile.TemporaryDirectory() as baked:
        bake(bundle, base, "int8", Path(baked, "base"))
        unedited = Transcriber(bundle, threads=threads, folder=Path(baked, "base"))
        for count in sorted(counts):
            while len(paths) < count:
                noise = {n: random.standard_normal(t.shape, np.float32) * NOISE for n, t in base.items()}
                vector = TaskVector(METHODS["ties"]([noise], lam=1.0, density=0.5), origin)
                paths.append(folder / f"{len(paths) + 1}.safetensors")
                write_atomically(paths[-1], vector.to_bytes())
            merge_start = time.perf_counter()
            weights: Tensors = base
            for path in paths[:count]:
                weights = apply(weights, METHODS["task_arithmetic"]([TaskVector.load(path).tensors], lam=0.6))
            bake_start = time.perf_counter()
            bake(bundle, weights, "int8", Path(baked, "edited"))
            bake_end = time.perf_counter()
            edited = Transcriber(bundle, threads=threads, folder=Path(baked, "edited"))
            edited_s, unedited_s = _latencies_s([edited, unedited], audio)
            rows.append(
                {
                    "edits": count,
                    "disk_mb": sum(path.stat().st_size for path in paths[:count]) / 1e6,
                    "merge_s": bake_start - merge_start,
                    "bake_s": bake_end - bake_start,
                    "peak_mb": peak_memory_mb(),
                    "latency_ms": 1e3 * edited_s,
                    "latency_ratio": edited_s / unedited_s,
                }
            )
    return rows


def _latencies_s(transcribers: Sequence[Transcriber], audio: Samples) -> list[float]:
    """The median time in which each transcribes a recording; they take turns, so that other load affects all alike."""
    times: list[list[float]] = [[] for _ in transcribers]
    for _ in range(REPEATS):
        for transcriber, found in zip(transcribers, times, strict=True):
            start = time.perf_counter()
            transcriber.transcribe(audio, SAMPLE_RATE)
            found.append(time.perf_counter() - start)
    return [float(np.median(found)) for found in times]


def _check_replaceable(path: Path) -> None:
    """Checks that a file is absent or from an earlier measurement, so that it may be replaced.

    Raises:
        BadInputError: the file is another task vector.
    """
    if path.exists() and read_origin(path).domain != DOMAIN:
        raise BadInputError(
            f"{path}: is a task vector of another domain; nothing was changed. Name another folder with --out"
        )
