"""Makes the bundled distillation set and guard set from `general-distillation` and `general-guard`.

    python scripts/general_speech.py ../shared/data [FOLDER]

Writes a folder for each set into FOLDER (by default the package's assets): `manifest.jsonl`, and the recordings as
Ogg Opus. A run chooses the same samples and texts every time; the bytes of the Opus files differ, because each Ogg
stream has a random serial number. So commit its output only when the choice changes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from device_app.audio.samples import SAMPLE_RATE, Samples, read
from device_app.models.bundles import embedded_bundle
from device_app.paths import ASSETS
from device_app.recognition.transcriber import Transcriber

READERS = 139  # of the distillation set: all those of Common Voice, and the first of LibriSpeech
CUT_S = (4.0, 6.0)  # LibriSpeech utterances are cut at the quietest moment in this range
FRAME = SAMPLE_RATE // 50  # samples, whose energy is compared to find the quietest moment
COMPRESSION = 0.9  # about 28 kbit/s, which changes the embedded model's WER on general-guard from 16.8 to 17.3 %

COMMON_VOICE = ("Mozilla Common Voice, English, delta 13.0", "CC0-1.0")
LIBRISPEECH = ("LibriSpeech, train-clean-100 (openslr.org/12)", "CC-BY-4.0")


def lines_of(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


def is_common_voice(line: dict[str, Any]) -> bool:
    return "common_voice" in str(line["audio"])


def cut(audio: Samples) -> Samples:
    """Cuts audio (samples,) at 16 kHz at the quietest moment of `CUT_S`; returns shorter audio as it is."""
    first, last = (round(bound * SAMPLE_RATE) for bound in CUT_S)
    if len(audio) <= last:
        return audio
    frames = audio[first:last].reshape(-1, FRAME)
    return audio[: first + FRAME * int(np.argmin(np.square(frames).mean(axis=1))) + FRAME // 2]


def distillation_lines(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One utterance of each reader: those of Common Voice first, then of LibriSpeech, until there are `READERS`."""
    readers: set[str] = set()
    for line in sorted(lines, key=lambda one: (not is_common_voice(one), one["audio"])):
        if line["speaker"] not in readers and len(readers) < READERS:
            readers.add(line["speaker"])
            yield line


def write_set(folder: Path, source: Path, lines: list[dict[str, Any]], transcriber: Transcriber) -> None:
    """Writes the recordings and the manifest of one set; utterances without a text get the model's hypothesis."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    records = []
    for line in lines:
        audio = read(source / line["audio"])
        audio = audio if is_common_voice(line) else cut(audio)
        name = f"audio/{Path(line['audio']).stem}.opus"
        soundfile.write(folder / name, audio, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
        text = line["text"] or transcriber.transcribe(read(folder / name), SAMPLE_RATE).text
        origin, licence = COMMON_VOICE if is_common_voice(line) else LIBRISPEECH
        records.append(
            {
                "audio": name,
                "text": text,
                "speaker": line["speaker"],
                "origin": f"{origin}: {Path(line['audio']).name}",
                "licence": licence,
            }
        )
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (folder / "manifest.jsonl").write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=ASSETS)
    options = parser.parse_args()
    transcriber = Transcriber(embedded_bundle(), precision="fp32")
    distillation, guard = (options.data / f"general-{name}" for name in ("distillation", "guard"))
    lines = list(distillation_lines(lines_of(distillation / "manifest.jsonl")))
    write_set(options.folder / "distillation_set", distillation, lines, transcriber)
    write_set(options.folder / "guard_set", guard, lines_of(guard / "manifest.jsonl"), transcriber)


if __name__ == "__main__":
    main()
