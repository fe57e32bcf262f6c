"""Writes spelled codes for the demonstration: recorded letters and digits, joined with pauses.

    python scripts/codes.py FOLDER [--count 50]

Writes FOLDER/manifest.jsonl and its recordings; deterministic.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from device_app.paths import ASSETS

SAMPLE_RATE = 8000
LENGTHS = (3, 7)  # characters in a code: at least the first number, below the second
PAUSE_S = (0.05, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    options = parser.parse_args()
    audio, _ = soundfile.read(ASSETS / "demo" / "characters.flac", dtype="int16")
    lines = (ASSETS / "demo" / "characters.jsonl").read_text("utf-8").splitlines()
    characters = [json.loads(line) for line in lines]
    random = np.random.default_rng(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    manifest = []
    for number in range(options.count):
        chosen = random.choice(len(characters), random.integers(*LENGTHS), replace=False)
        parts = []
        for index in chosen:
            pause = np.zeros(round(random.uniform(*PAUSE_S) * SAMPLE_RATE), np.int16)
            parts += [pause, audio[characters[index]["start"] : characters[index]["end"]]]
        soundfile.write(options.folder / f"{number:03}.flac", np.concatenate(parts), SAMPLE_RATE, subtype="PCM_16")
        text = " ".join(characters[index]["text"] for index in chosen)
        manifest.append({"audio": f"{number:03}.flac", "text": text, "speaker": "allison"})
    text = "".join(json.dumps(line) + "\n" for line in manifest)
    (options.folder / "manifest.jsonl").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
