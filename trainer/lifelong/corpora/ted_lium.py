"""TED-LIUM 3 as one domain, with its talks cut into utterances."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import soundfile

from device_app.audio.samples import encode, to_model_rate
from device_app.data.utterance import Utterance
from editing.errors import BadInputError, one_line
from editing.files import write_atomically
from trainer.lifelong.corpora.source import Source

NOT_SCORED = "ignore_time_segment_in_scoring"  # the text of segments without a transcript
MARKS = re.compile(r"<[^>]*>|\(\d+\)|\{[^}]*\}")  # <unk>, a word's variant (2), {NOISE}


def read(source: Source) -> dict[str, list[Utterance]]:
    """Cuts a few utterances out of every talk, by its STM file, and writes them as FLAC.

    Raises:
        BadInputError: the folder is not TED-LIUM 3, or a file cannot be read.
    """
    folder = source.folder
    subsets = {"train": (folder / "data", source.train), "test": (folder / "legacy" / "test", source.test)}
    utterances = []
    for split, (subset, count) in subsets.items():
        stm_files = sorted((subset / "stm").glob("*.stm"))
        if not stm_files:
            raise BadInputError(f"{subset / 'stm'}: has no .stm files; expected an unpacked TED-LIUM 3")
        per_talk = max(1, math.ceil(count / len(stm_files)))
        out = source.out / "ted-lium" / split
        candidates = (one for stm in stm_files for one in islice(_utterances(stm, out, split), per_talk))
        for one in islice(candidates, count):
            utterances.append(one)
            source.on_done(1)
    return {"ted-lium": utterances}


def _utterances(stm: Path, out: Path, split: str) -> Iterable[Utterance]:
    talk = stm.parent.parent / "sph" / f"{stm.stem}.sph"
    for number, line in enumerate(stm.read_text("utf-8").splitlines(), 1):
        fields = line.split(" ", 6)
        try:
            start, end = float(fields[3]), float(fields[4])
            text = " ".join(MARKS.sub(" ", fields[6]).replace(" '", "'").split())
        except (IndexError, ValueError) as error:
            raise BadInputError(f"{stm}, line {number}: not a valid STM line ({one_line(str(error))})") from error
        if not text or NOT_SCORED in text or end <= start:
            continue
        path = out / f"{stm.stem}-{number:05d}.flac"
        if not path.is_file():
            try:
                with soundfile.SoundFile(talk) as file:
                    rate = file.samplerate
                    file.seek(round(start * rate))
                    audio = file.read(round((end - start) * rate), dtype="float32")
            except (OSError, soundfile.LibsndfileError) as error:
                raise BadInputError(
                    f"{talk}: cannot be read from {start:g} to {end:g} s ({one_line(str(error))})"
                ) from error
            write_atomically(path, encode(to_model_rate(audio, rate, str(talk))))
        yield Utterance(audio=path, text=text, speaker=fields[2], split=split)
