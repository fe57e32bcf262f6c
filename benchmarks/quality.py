"""The quality checks of the recorder: false alarms on good speech, and detected artificial faults.

    python benchmarks/quality.py MANIFEST... [--split train]

Prints, for each manifest, the warnings on the unchanged recordings (false alarms, if the recordings are
good), and the detection rate of artificial faults: 0.1 % of the samples clipped, babble of the other
recordings 5 dB below the speech, a level of -45 dBFS, and a cut in the middle of a word.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from device_app.audio.samples import SAMPLE_RATE, Samples, to_model_rate
from device_app.audio.vad import VoiceActivity
from device_app.data.manifest import read_manifest
from device_app.recording.quality import measure, problems

TALKERS = 8  # of the babble
# By artificial fault: what the warning must say to count as detected.
FAULTS = {
    "clipped": "clipped",
    "babble": "noisy",
    "quiet": "too quiet",
    "cut end": "the end is cut off",
    "cut start": "the start is cut off",
}


def rms(audio: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(audio))))


def damaged(audio: Samples, babble: Samples) -> dict[str, Samples]:
    """The recording with each of `FAULTS`, by name."""
    top = np.quantile(np.abs(audio), 0.999)
    hop = SAMPLE_RATE // 20
    third = len(audio) // 3
    loudness = [rms(audio[start : start + hop]) for start in range(third, 2 * third, hop)]
    middle = third + int(np.argmax(loudness)) * hop + hop // 2  # the middle of the loudest part
    return {
        "clipped": np.clip(audio, -top, top),
        "babble": audio + np.resize(babble, len(audio)) * (rms(audio) / rms(babble) * 10 ** (-5 / 20)),
        "quiet": audio * 10 ** (-45 / 20) / rms(audio),
        "cut end": audio[:middle],
        "cut start": audio[middle:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--split")
    options = parser.parse_args()
    voice = VoiceActivity()
    for manifest in options.manifests:
        files = [soundfile.read(one.file, dtype="float32") for one in read_manifest(manifest, options.split)]
        recordings = [to_model_rate(samples, rate) for samples, rate in files]
        random = np.random.default_rng(0)
        alarms, found = Counter[str](), Counter[str]()
        for recording, (samples, rate) in zip(recordings, files, strict=True):
            alarms.update(
                problem.split(":")[0].split(" (")[0] for problem in problems(measure(samples, rate, voice)[1])
            )
            talkers = random.choice(len(recordings), TALKERS)
            babble = np.sum([np.resize(recordings[i] / rms(recordings[i]), 5 * SAMPLE_RATE) for i in talkers], axis=0)
            for fault, audio in damaged(recording, babble.astype(np.float32)).items():
                warnings = " ".join(problems(measure(audio, SAMPLE_RATE, voice)[1]))
                found[fault] += FAULTS[fault] in warnings
        print(f"{manifest}: {len(recordings)} recordings")
        print(
            "  warnings on unchanged recordings: "
            + (", ".join(f"{n} {what}" for what, n in alarms.most_common()) or "none")
        )
        print("  detected faults: " + ", ".join(f"{fault} {found[fault] / len(recordings):.0%}" for fault in FAULTS))


if __name__ == "__main__":
    main()
