"""The speed of the store: importing 10,000 short utterances, listing 100,000.

    python benchmarks/store.py FOLDER [--utterances 10000] [--rows 100000]

FOLDER has a few FLAC files at 16 kHz, which are cut into distinct utterances of one second. All files are
written to a temporary folder (set TMPDIR to choose the disk).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from device_app.audio.samples import SAMPLE_RATE, encode, read
from device_app.data.corpora import find_utterances
from device_app.data.importing import import_utterances
from device_app.data.store import Store
from device_app.data.utterance import Recording, Utterance
from device_app.evaluation.memory import peak_memory_mb

BATCH = 1000  # rows that are added in one transaction


def make_corpus(source: Path, folder: Path, count: int) -> Path:
    """Writes a manifest of `count` utterances of one second."""
    speech = np.concatenate([read(path) for path in sorted(source.glob("*.flac"))])
    folder.mkdir()
    lines = []
    for index in range(count):
        start = index * 997 % (len(speech) - SAMPLE_RATE)
        (folder / f"{index}.flac").write_bytes(encode(speech[start : start + SAMPLE_RATE]))
        lines.append(json.dumps({"audio": f"{index}.flac", "text": f"utterance {index}", "speaker": str(index % 50)}))
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "manifest.jsonl"


def fill(store: Store, count: int) -> None:
    """Adds rows with placeholder files, because the timed commands do not open the audio."""
    for start in range(0, count, BATCH):
        store.add(
            [
                Utterance(
                    domain=f"domain {i % 20}",
                    text=f"utterance {i}",
                    speaker=str(i % 200),
                    recording=Recording(flac=i.to_bytes(4), duration_s=3.0, level_dbfs=-20, peak_dbfs=-3, clipped=0),
                )
                for i in range(start, min(start + BATCH, count))
            ]
        )


def timed_command(home: Path, *arguments: str) -> float:
    """Median seconds of a command, including start-up."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        command = [sys.executable, "-m", "device_app", *arguments]
        subprocess.run(command, env={**os.environ, "ASR_EDGE_HOME": str(home)}, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        manifest = make_corpus(arguments.folder, root / "corpus", arguments.utterances)
        with Store(root / "imported") as store:
            before = peak_memory_mb()
            began = time.perf_counter()
            _, utterances = find_utterances(manifest)
            report = import_utterances(store, utterances, "bench")
            seconds = time.perf_counter() - began
        grown = peak_memory_mb() - before
        print(f"import: {report.imported / seconds:.0f} utterances/s, peak memory grew by {grown:.0f} MB")
        with Store(root / "large") as store:
            fill(store, arguments.rows)
        for command in (["dataset", "list"], ["dataset", "stats", "domain 3"], ["dataset", "show", "domain 3"]):
            print(f"{' '.join(command)} at {arguments.rows} rows: {timed_command(root / 'large', *command):.3f} s")


if __name__ == "__main__":
    main()
